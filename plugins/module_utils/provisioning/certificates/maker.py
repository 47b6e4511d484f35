# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make certificates for PostgreSQL on the host that uses them, by an authority of its own, or put given ones in place.

Each file is written apart and renamed into place, a key before its certificate. Keys are made here, never leave the host and
stand in no file but their own; openssl gets them by the names of these files.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import glob
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from . import facts
from .names import name_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AUTHORITY_DAYS = 3650
_DRAFT = ".draft-"
# A clock that is a little behind takes a certificate for one of the future.
_EARLIER = datetime.timedelta(days=1)
_LONGEST_COMMON_NAME = 64
_KEY = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
_CONFIGURATION = """
[ca]
default_ca = this
[this]
database = {directory}/index
new_certs_dir = {directory}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
{names}
"""


class CertificateError(Exception):
    """A sentence that says why there is no certificate."""


def is_there(directory: str, number: int, certificate: str = "") -> bool:
    """Whether a pair with this number can be used, and is the given one."""
    path, key = facts.paths(directory, number)
    if facts.load_problem(path, key):
        return False
    return not certificate or facts.fingerprints(_text_of(path)) == facts.fingerprints(certificate)


@contextlib.contextmanager
def alone(directory: str) -> Iterator[None]:
    """The directory for one run at a time, without what a run left that was killed while it wrote."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for draft in glob.glob(_in(glob.escape(directory), f"{_DRAFT}*")):
            shutil.rmtree(draft) if os.path.isdir(draft) else os.unlink(draft)
        yield
    finally:
        os.close(descriptor)


def issue(directory: str, number: int, owner: tuple[int, int], names: Sequence[str], days: int) -> None:
    """Make a key and a certificate for these names, signed by the authority of the directory, which is made where it is missing."""
    refused = [name for name in names if not name_kind(name)]
    if refused or not names:
        raise CertificateError(
            f"A certificate cannot be created for {refused[0]!r}, which is neither a host name nor an IP address."
            if refused
            else "A certificate needs at least one name."
        )
    path, key = facts.paths(directory, number)
    with _workplace(directory, names) as workplace:
        common_name = _common_name(names)
        _ensure_authority(directory, workplace, common_name, days)
        _write(key, _openssl(_KEY), 0o600, owner)
        _request(workplace, key, common_name)
        _sign(workplace, "server", days, ["-cert", _in(directory, "ca.crt"), "-keyfile", _in(directory, "ca.key")])
        _write(path, _signed(workplace), 0o644)


def request(directory: str, number: int, owner: tuple[int, int], names: Sequence[str]) -> str:
    """Make the key of a pair, unless it is there, and return a request to sign, in PEM form."""
    key = facts.paths(directory, number)[1]
    with _workplace(directory, names) as workplace:
        if not os.path.exists(key):
            _write(key, _openssl(_KEY), 0o600, owner)
        _request(workplace, key, _common_name(names))
        return _text_of(_in(workplace, "request"))


def sign(directory: str, text: str, names: Sequence[str], days: int) -> tuple[str, str]:
    """Sign another host's request by the authority of the directory; return the certificate and that of the authority.

    Only the key of the request counts: the names are those that the caller gives.
    """
    if facts.load_problem(_in(directory, "ca.crt"), _in(directory, "ca.key")):
        raise CertificateError(f"{directory} has no certificate authority that could sign for another host.")
    with _workplace(directory, names) as workplace:
        _ensure_authority(directory, workplace, _common_name(names), days)
        _write(_in(workplace, "request"), text, 0o600)
        _sign(workplace, "server", days, ["-cert", _in(directory, "ca.crt"), "-keyfile", _in(directory, "ca.key")])
        return _signed(workplace), _text_of(_in(directory, "ca.crt"))


def accept(directory: str, number: int, certificate: str, authority: str) -> None:
    """Put in place what the authority of another host signed for a key of this one, and its certificate in the place of an own authority's."""
    path, key = facts.paths(directory, number)
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as draft:
        draft.write(certificate)
        draft.flush()
        problem = facts.load_problem(draft.name, key)
    if problem:
        raise CertificateError(f"PostgreSQL could not use the signed certificate with its key: {problem}.")
    own, own_key = _in(directory, "ca.crt"), _in(directory, "ca.key")
    if facts.load_problem(own, own_key) == "" and facts.fingerprints(_text_of(own)) != facts.fingerprints(authority):
        os.unlink(own_key)
    _write(own, authority, 0o644)
    _write(path, certificate, 0o644)


def keep(directory: str, number: int, owner: tuple[int, int], certificate: str, private_key: str) -> None:
    """Put a given pair in place."""
    path, key = facts.paths(directory, number)
    _write(key, private_key, 0o600, owner)
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as draft:
        draft.write(certificate)
        draft.flush()
        problem = facts.load_problem(draft.name, key)
    if problem:
        os.unlink(key)
        raise CertificateError(f"PostgreSQL could not use the given certificate with its key: {problem}.")
    _write(path, certificate, 0o644)


def _ensure_authority(directory: str, workplace: str, name: str, days: int) -> None:
    """An authority that outlives what it is about to sign. It is renewed with its key and name, so that clients who know the old
    certificate trust what the new one signs, until the old one ends."""
    path, key = _in(directory, "ca.crt"), _in(directory, "ca.key")
    if not os.path.exists(key):
        _write(key, _openssl(_KEY), 0o600)
    known = facts.load_problem(path, key) == ""
    if known and _run(["x509", "-in", path, "-noout", "-checkend", str(days * facts.DAY)]).returncode == 0:
        return
    if known:
        _openssl(["x509", "-x509toreq", "-in", path, "-signkey", key, "-out", _in(workplace, "request")])
    else:
        _request(workplace, key, f"Database authority of {name}"[:_LONGEST_COMMON_NAME])
    _sign(workplace, "authority", AUTHORITY_DAYS, ["-selfsign", "-keyfile", key])
    _write(path, _signed(workplace), 0o644)


@contextlib.contextmanager
def _workplace(parent: str, names: Sequence[str]) -> Iterator[str]:
    """A directory for what openssl needs in files, none of it secret."""
    directory = tempfile.mkdtemp(prefix=_DRAFT, dir=parent)
    listed = ",".join(f"{name_kind(name)}:{name}" for name in names)
    try:
        with open(_in(directory, "configuration"), "w", encoding="ascii") as file:
            file.write(_CONFIGURATION.format(directory=directory, names=f"subjectAltName = {listed}"))
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _common_name(names: Sequence[str]) -> str:
    return next((name for name in names if len(name) <= _LONGEST_COMMON_NAME and name != "localhost"), "PostgreSQL")


def _request(workplace: str, key: str, common_name: str) -> None:
    _openssl(
        [
            *("req", "-new", "-key", key, "-subj", f"/CN={common_name}"),
            *("-config", _in(workplace, "configuration"), "-out", _in(workplace, "request")),
        ]
    )


def _sign(workplace: str, extensions: str, days: int, signer: list[str]) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end = (moment.strftime("%Y%m%d%H%M%SZ") for moment in (now - _EARLIER, now + datetime.timedelta(days=days)))
    with open(_in(workplace, "index"), "w", encoding="ascii"):
        pass
    _openssl(
        [
            *(
                "ca",
                "-batch",
                "-notext",
                "-config",
                _in(workplace, "configuration"),
                "-extensions",
                extensions,
                *signer,
            ),
            *("-startdate", begin, "-enddate", end),
            *("-in", _in(workplace, "request"), "-out", _in(workplace, "signed")),
        ]
    )


def _signed(workplace: str) -> str:
    return _text_of(_in(workplace, "signed"))


def _in(directory: str, name: str) -> str:
    return os.path.join(directory, name)


def _text_of(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def _write(path: str, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Put a file in place as a whole; nobody ever sees half of it, or one with another mode."""
    descriptor, draft = tempfile.mkstemp(prefix=_DRAFT, dir=os.path.dirname(path))  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _openssl(arguments: list[str]) -> str:
    """What openssl prints."""
    answer = _run(arguments)
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise CertificateError(f"openssl {arguments[0]} failed: {lines[-1]}.")
    return answer.stdout


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # Not the module's run_command: nothing here imports Ansible.
    return subprocess.run(  # noqa: S603 - a fixed program # pylint: disable=ansible-bad-function
        ["/usr/bin/openssl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
