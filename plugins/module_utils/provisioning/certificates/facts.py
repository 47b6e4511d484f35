# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that a host keeps for PostgreSQL, and the one that a server shows, read without changing anything.

    DIRECTORY/ca.key, ca.crt                the authority; its key is for root alone
    DIRECTORY/server-N.key, server-N.crt    pairs, the newest with the highest number

No name is used twice, so that a key and a certificate that do not belong together are never found under the names that a
server was told. Python's own library reads no certificate, so `openssl` does, which comes with Debian's PostgreSQL.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import socket
import ssl
import subprocess
import time
from typing import Any

from .names import from_openssl

DAY = 86400
_PAIR = re.compile(r"server-([1-9][0-9]{0,8})\.(?:key|crt)")
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# What a client sends that wants TLS, before anything else: a length of 8 and a number that is no version of the protocol.
_SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
_PATIENCE = 5


def paths(directory: str, number: int) -> tuple[str, str]:
    """Where a pair is: its certificate and its key."""
    return os.path.join(directory, f"server-{number}.crt"), os.path.join(directory, f"server-{number}.key")


def describe_directory(directory: str) -> dict[str, Any]:
    """Describe the authority, None where there is none, and every pair, the newest first."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    numbers = {int(match.group(1)) for match in map(_PAIR.fullmatch, names) if match}
    return {
        "directory": directory,
        "authority": _describe_authority(directory),
        "pairs": [_describe_pair(directory, number) for number in sorted(numbers, reverse=True)],
    }


def _describe_authority(directory: str) -> dict[str, Any] | None:
    certificate, key = os.path.join(directory, "ca.crt"), os.path.join(directory, "ca.key")
    text = _read(certificate)
    if not text:
        return None
    return {
        "path": certificate,
        "certificate": text,
        "days_left": _describe(text)["days_left"],
        "key_matches": load_problem(certificate, key) == "",
        # Where the authority is another host's, as on a standby, its certificate is here and no key.
        "elsewhere": not os.path.lexists(key),
    }


def _describe_pair(directory: str, number: int) -> dict[str, Any]:
    certificate, key = paths(directory, number)
    text = _read(certificate)
    return {
        "number": number,
        "fingerprints": fingerprints(text),
        **_describe(text),
        "owner": _owner_of_secret(key),
        "key_matches": load_problem(certificate, key) == "",
        "trusted": bool(text) and _openssl(["verify", "-CAfile", os.path.join(directory, "ca.crt"), certificate]) != "",
    }


def _describe(text: str) -> dict[str, Any]:
    """Until when the first certificate of a text is valid, in whole days from now, and for which names."""
    printed = _openssl(["x509", "-noout", "-enddate", "-ext", "subjectAltName"], text)
    end = re.search(r"^notAfter=(.+)$", printed, re.MULTILINE)
    if end is None:
        return {"days_left": -1, "expires": "", "names": []}
    moment = ssl.cert_time_to_seconds(end.group(1).strip())
    expires = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d")
    return {"days_left": int((moment - time.time()) // DAY), "expires": expires, "names": from_openssl(printed)}


def fingerprints(text: str) -> list[str]:
    """SHA-256 of every certificate in a text, in their order."""
    found = []
    for block in _BLOCK.findall(text):
        try:
            found.append(hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest())
        except ValueError:
            found.append("")
    return found


def load_problem(certificate: str, key: str) -> str:
    """Why a server could not use the two files, empty where it could: they are loaded as PostgreSQL loads them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password the library would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error).replace("_", " ").lower()
    return ""


def _owner_of_secret(path: str) -> str:
    """The user that a file belongs to, empty where there is none or where others may read it too."""
    import pwd  # not there on every system that may import this module

    try:
        status = os.stat(path)
        return pwd.getpwuid(status.st_uid).pw_name if status.st_mode & 0o077 == 0 else ""
    except (OSError, KeyError):
        return ""


def served_certificate(address: str, port: int) -> dict[str, Any] | None:
    """Describe the certificate that a server shows to a client; None where it shows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is looked at here, and trusted with nothing.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), timeout=_PATIENCE) as connection:
            connection.sendall(_SSL_REQUEST)
            if connection.recv(1) != b"S":
                return None
            with context.wrap_socket(connection) as secured:
                certificate = secured.getpeercert(binary_form=True) or b""
                with contextlib.suppress(OSError):
                    # Else the server would note that the connection broke.
                    secured.unwrap()
    except OSError:
        return None
    text = ssl.DER_cert_to_PEM_cert(certificate)
    return {"fingerprint": hashlib.sha256(certificate).hexdigest(), **_describe(text)}


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _openssl(arguments: list[str], given: str = "") -> str:
    """What openssl prints, empty where it fails or is not there."""
    # Not the module's run_command: nothing here imports Ansible.
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program # pylint: disable=ansible-bad-function
            ["/usr/bin/openssl", *arguments],
            input=given,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
