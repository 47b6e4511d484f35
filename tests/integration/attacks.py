"""What an attack on the audit log is, and what may become of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Who attacks: our roles, and what an administrator may add. `administrator` has CREATEROLE, no superuser, and owns the database;
# `writer` is a member of pg_write_all_data and pg_read_all_data. docs/audit.md describes them.
ATTACKERS = (
    "application",
    "readonly",
    "monitor",
    "service",
    "maintenance",
    "executor",
    "approver",
    "owner",
    "audit",
    "administrator",
    "writer",
    "superuser",
)

REFUSED = "42501"
# The statements succeed, and the verification against a head that was kept outside shows it.
DETECTED = "detected"
# The statements succeed and are no harm: what they write is stamped and linked like everything else.
HARMLESS = "harmless"
# The statements succeed, and nothing that was in the log shows it: entries are kept from being written.
UNSEEN = "unseen"

Outcome = str
# An outcome that depends on the server: (first version with it, outcome before, outcome since).
Since = tuple[int, Outcome, Outcome]
DETECTED_BEFORE_16: Since = (160000, DETECTED, REFUSED)
DETECTED_SINCE_15: Since = (150000, REFUSED, DETECTED)
REFUSED_SINCE_15: Since = (150000, "42601", REFUSED)

TAMPER = "UPDATE audit_entries SET actor = 'mallory' WHERE target_id = '4'"


@dataclass(frozen=True)
class Attack:
    """Statements of one transaction, and what becomes of them by role.

    Attributes:
        id: its name in docs/audit.md.
        statements: one after the other; `me` stands for the attacker's name.
        others: outcome by role where it is not that of everybody else, a SQLSTATE or one of the words above.
        everybody: outcome for all other roles; refused by default.
        rows: what a COPY … FROM STDIN reads.
        blinds: the verification within the database is made to lie; only one from outside shows the attack.
    """

    id: str
    statements: tuple[str, ...]
    others: Mapping[str, Outcome | Since] = field(default_factory=dict)
    everybody: Outcome | Since = REFUSED
    rows: str = ""
    blinds: bool = False

    def outcome(self, role: str, version: int) -> Outcome:
        expected = self.others.get(role, self.everybody)
        if isinstance(expected, str):
            return expected
        since, before, after = expected
        return after if version >= since else before

    def outcomes(self, role: str) -> set[Outcome]:
        """On any version."""
        expected = self.others.get(role, self.everybody)
        return {expected} if isinstance(expected, str) else set(expected[1:])


def attack(id: str, sql: str, **more) -> Attack:
    """An attack from statements that are parted by ";;"."""
    statements = tuple(part.strip() for part in re.split(r";;\s*", sql) if part.strip())
    return Attack(id, statements, **more)
