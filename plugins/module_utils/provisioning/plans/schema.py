# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the SQL files of the schema with what a database has recorded."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

from ...schema.migrations import (
    SITE,
    PlanError,
    applied_from_rows,
    plan_migrations,
    read_migrations,
    read_repeatables,
    status_table,
)
from ...schema.runner import (
    GRANTS,
    PriceList,
    RunnerSettings,
    grants_checksum,
    history_statements,
    migration_batches,
    objects_to_restore,
    pending_repeatables,
    record_grants_statements,
    repeatable_script,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_history_statements(directory: str, settings: RunnerSettings) -> list[str]:
    """Statements for one connection; the last returns the history in a column `history`."""
    return history_statements(_read(directory, "runner", "session.sql"), settings)


def plan_schema(
    directory: str,
    history: Mapping[str, Any],
    settings: RunnerSettings,
    site_directory: str = "",
    prices: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Compare the files with a history.

    Args:
        directory: holds `migrations/`, `repeatable/`, `seed/` and `runner/` of the collection.
        history: what `read_history_statements` made the database return.
        site_directory: a homelab's own migrations; empty for none.
        prices: a homelab's own prices.

    Returns:
        What the module schema_plan returns, except `history_statements` and what the server said of itself.

    Raises:
        OSError: a file cannot be read.
    """
    session_sql = _read(directory, "runner", "session.sql")
    result: dict[str, Any] = {
        "is_current": False,
        "problems": [],
        "applied": 0,
        "pending": [],
        "pending_repeatables": [],
        "grants_statements": [],
        "batches": [],
        "run_id": str(uuid.uuid4()),
        "repeatable_script": "",
        "status": [],
    }
    try:
        bundle = read_migrations(os.path.join(directory, "migrations"))
        files = list(bundle)
        if site_directory:
            files += read_migrations(site_directory, SITE)
        repeatables = read_repeatables(os.path.join(directory, "repeatable"))
        price_lists = _price_lists(directory, prices)
    except PlanError as error:
        return {**result, "problems": [str(error)]}

    plan = plan_migrations(files, applied_from_rows(history["migrations"]))
    drifted = objects_to_restore(history.get("objects"))
    repeatable = pending_repeatables(repeatables, price_lists, history["repeatables"]) + drifted
    result["status"] = status_table(files, history["migrations"])
    result["applied"] = len(plan.applied)
    problems = [*history.get("problems", []), *plan.problems]
    if problems:
        return {**result, "problems": problems}
    result["pending"] = [file.name for file in plan.pending]
    result["pending_repeatables"] = repeatable
    result["batches"] = migration_batches(session_sql, plan.pending, settings)
    run_id = result["run_id"]
    digest = grants_checksum(_read(directory, "privileges.yml"), [*files, *repeatables])
    # Objects that are created again have lost their privileges.
    if drifted or digest not in [row["checksum"] for row in history["repeatables"] if row["name"] == GRANTS]:
        result["grants_statements"] = record_grants_statements(session_sql, digest, settings, run_id)
    result["is_current"] = not plan.pending and not repeatable and not result["grants_statements"]
    if repeatable:
        result["repeatable_script"] = repeatable_script(session_sql, bundle, repeatables, price_lists, settings, run_id)
    return result


def _price_lists(directory: str, prices: Sequence[Mapping[str, Any]]) -> list[PriceList]:
    import yaml

    # Without the C library every run would spend a tenth of a second on it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    seed = yaml.load(_read(directory, "seed", "provider_pricing.yml"), loader)  # noqa: S506 (both are safe)
    return [PriceList("seed", seed), PriceList("user", prices)]


def _read(*path: str) -> str:
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()
