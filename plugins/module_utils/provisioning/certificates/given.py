# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a given certificate, and check that a server could use it."""

from __future__ import annotations

import datetime
from typing import Any

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

_SHORTEST_RSA = 2048
_DAY = datetime.timedelta(days=1)


def given_certificate(certificate: str, private_key: str) -> dict[str, Any]:
    """Read a certificate and its key; the documentation of the filter of this name says what is returned.

    Args:
        certificate: in PEM form, with those between it and its authority after it.
        private_key: in PEM form.
    """
    read: dict[str, Any] = {"problem": "", "names": [], "days_left": 0, "expires": "", "fingerprints": []}
    if not HAS_CRYPTOGRAPHY:
        return {
            **read,
            "problem": "cannot be read, as the controller's Python lacks cryptography: install it there with pip",
        }
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError:
        return {**read, "problem": "is not in PEM form: give the whole text of its file"}
    first = chain[0]
    left = first.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    read["fingerprints"] = [each.fingerprint(hashes.SHA256()).hex() for each in chain]
    read.update(names=_names(first), days_left=left // _DAY, expires=first.not_valid_after_utc.strftime("%Y-%m-%d"))
    return {**read, "problem": _problem(first, private_key)}


def _problem(certificate: x509.Certificate, private_key: str) -> str:
    key: Any
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except TypeError:
        return "has a key with a passphrase, which nobody can enter when the server starts: give the key without one"
    except (ValueError, UnsupportedAlgorithm):
        return "has a key that is not in PEM form: give the text of its file in mission_control_postgresql_tls_key"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        return "does not match the key in mission_control_postgresql_tls_key"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _SHORTEST_RSA:
        return f"has a key of {key.key_size} bits, but clients require at least {_SHORTEST_RSA}: make a new one"
    begins = certificate.not_valid_before_utc
    if begins > datetime.datetime.now(datetime.timezone.utc):
        return f"is not valid before {begins.strftime('%Y-%m-%d')}"
    return ""


def _names(certificate: x509.Certificate) -> list[str]:
    """The names that a client compares with; the common name only where there are no others, as libpq does."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(each.value) for each in common[-1:]]
    hosts = [str(each) for each in extension.get_values_for_type(x509.DNSName)]
    return hosts + [str(each) for each in extension.get_values_for_type(x509.IPAddress)]
