# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make and check the password verifiers that PostgreSQL stores (RFC 5802 and RFC 7677: SCRAM-SHA-256).

A verifier that is computed here is all that a server, its log and its process list ever see of a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata

SALT_BYTES = 16
ITERATIONS = 4096

_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[1-9][0-9]*):(?P<salt>[A-Za-z0-9+/=]+)"
    r"\$(?P<stored_key>[A-Za-z0-9+/=]+):(?P<server_key>[A-Za-z0-9+/=]+)"
)
# RFC 4013, section 2.3: what a prepared string must not contain.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def prepare_password(password: str) -> bytes:
    """Bring a password into the form that is hashed.

    That is SASLprep (RFC 4013) where it can be applied. Like PostgreSQL and libpq, and unlike the RFC, a password that
    SASLprep would refuse is not refused but hashed as it is.
    """
    raw = password.encode("utf-8")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not mapped or _is_prohibited(prepared) or _mixes_directions(prepared):
        return raw
    return prepared.encode("utf-8")


def _is_prohibited(text: str) -> bool:
    return any(in_table(char) for char in text for in_table in _PROHIBITED)


def _mixes_directions(text: str) -> bool:
    """RFC 3454, section 6: right-to-left text begins and ends with its like and holds nothing that runs the other way."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return False
    both_ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not both_ends or any(stringprep.in_table_d2(char) for char in text)


def make_verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """The verifier of a password, with a fresh random salt unless one is given.

    Raises:
        ValueError: the password is empty or holds a character that PostgreSQL cannot take.
    """
    if not password:
        raise ValueError("an empty password cannot be used")
    if "\x00" in password:
        raise ValueError("a password cannot hold the character NUL")
    if iterations < 1:
        raise ValueError("at least one iteration is needed")
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepare_password(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def matches(password: str, verifier: str | None) -> bool:
    """Whether a stored verifier is one of this password; any other kind of verifier, such as md5, is not."""
    parts = _VERIFIER.fullmatch(verifier or "")
    if not parts or not password or "\x00" in password:
        return False
    try:
        salt = base64.b64decode(parts["salt"], validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(make_verifier(password, salt, int(parts["iterations"])), str(verifier))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
