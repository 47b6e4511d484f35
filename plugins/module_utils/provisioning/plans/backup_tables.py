# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup says to the server before it reads and writes our tables as a superuser."""

from __future__ import annotations

from ...schema.foreign_code import FOREIGN_CODE, LOCK_STATISTICS, SETTING, lock_statement, relations_json

# Which it uses, and whether it writes there.
TABLES = {"audit_head": False, "backup_runs": True}


def table_guard(schema: str, owner: str) -> str:
    """SQL for psql, in a transaction: it fails unless the tables are ordinary ones of their owner, which they stay until its end.

    Args:
        schema: where the tables are.
        owner: the role that they belong to.
    """
    relations = relations_json(
        {"schema": schema, "name": name, "owner": owner, "written": written} for name, written in TABLES.items()
    )
    statements = [
        "SET LOCAL standard_conforming_strings = on",
        LOCK_STATISTICS,
        *(lock_statement(schema, name, may_write=True) for name in TABLES),
        f"SET LOCAL {SETTING} = '" + relations.replace("'", "''") + "'",
        f"""DO $guard$
DECLARE
    found record;
BEGIN
    FOR found IN {FOREIGN_CODE} LOOP
        RAISE EXCEPTION '% %, so neither it nor the tables beside it are used', found.name, found.problem;
    END LOOP;
END $guard$""",
    ]
    return "".join(f"{statement};\n" for statement in statements)
