# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the audit chain, for whoever compares it and writes nothing: the health check goes to the host without the rest of the log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import MissionControlError

_HEAD = re.compile(r"^(\d+):([0-9a-f]{64})$")


class AuditError(MissionControlError, ValueError):
    """An input for the audit log or its verification is wrong; the message says why."""


@dataclass(frozen=True)
class AuditHead:
    """The end of the chain: how many links it has, and the digest of the last one.

    Keep its text outside the database: only against an earlier head does a verification show that the newest entries were
    removed.
    """

    sequence: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        found = _HEAD.match(text.strip())
        if not found:
            raise AuditError(
                f"The head of an audit chain is a number, a colon and 64 hexadecimal digits, not {text!r}."
            )
        return cls(int(found.group(1)), bytes.fromhex(found.group(2)))
