# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the server's certificate: clients that verify it are cut off when it ends."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

from .report import Check
from .text import number

if TYPE_CHECKING:
    from .probe import Probe

# Tags of DER, the form that certificates have: a time with two digits of the year, and an element that may be left out.
_SHORT_TIME, _VERSION = 0x17, 0xA0


def check_certificate(probe: Probe) -> Check:
    """Until when the server's certificate is valid. Only who may read files of the server sees it, a superuser for one."""
    if not probe.row("SELECT current_setting('ssl')::boolean AS offered")["offered"]:
        return Check("certificate", "pass", "The server offers no TLS.", {})
    # Cut out by the server, as the file may hold a key too.
    text = probe.row(
        """
        SELECT substring(pg_catalog.pg_read_file(current_setting('ssl_cert_file'))
            from '-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----') AS certificate
        """
    )["certificate"]
    ends_at = end_of_certificate(text) if text else None
    if ends_at is None:
        return Check("certificate", "not checked", "The server's certificate cannot be read.", {})
    seconds = (ends_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    days = int(seconds // 86400)
    data = {"ends_at": ends_at, "days_left": days}
    if seconds < 0:
        message = f"The server's certificate ended on {ends_at:%Y-%m-%d}: clients that verify it cannot connect."
        return Check("certificate", "warn", message, data)
    message = f"The server's certificate ends on {ends_at:%Y-%m-%d}, in {number(days, 'day')}"
    if days < probe.thresholds.certificate_warn_days:
        return Check("certificate", "warn", f"{message}: provision the server, which renews that of the role.", data)
    return Check("certificate", "pass", f"{message}.", data)


def end_of_certificate(text: str) -> datetime.datetime | None:
    """When a certificate in PEM form ends; None of what is none. Python's own library reads no certificate."""
    try:
        [(_tag, certificate)] = _elements(ssl.PEM_cert_to_DER_cert(text))
        parts = _elements(_elements(certificate)[0][1])
        validity = parts[4 if parts[0][0] == _VERSION else 3][1]
        tag, moment = _elements(validity)[1]
        digits = moment.decode("ascii")
        if tag == _SHORT_TIME:
            digits = ("19" if digits >= "50" else "20") + digits
        return datetime.datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except (ValueError, IndexError):
        return None


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements that stand one after the other, each as its tag and what it holds."""
    found = []
    while data:
        length, begin = data[1], 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(data[2:begin], "big")
        if len(data) < begin + length:
            raise ValueError("cut off")
        found.append((data[0], data[begin : begin + length]))
        data = data[begin + length :]
    return found
