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
    checksum,
    plan_migrations,
    read_migrations,
    read_repeatables,
    status_table,
)
from ...schema.runner import (
    GRANTS,
    PriceList,
    RunnerSettings,
    fill_statements,
    grants_checksum,
    history_statements,
    migration_batches,
    objects_to_restore,
    pending_repeatables,
    record_grants_statements,
    repeatable_script,
)
from .ledger import budget_conflicts, ledger_changes
from .tools import registry_changes, registry_problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...schema.runner import LastStep
    from .tools import Registry


def read_history_statements(directory: str, settings: RunnerSettings, registry: bool = False) -> list[str]:
    """Statements for one connection; the last returns the history in a column `history`, with the registry of tools where that is asked for."""
    return history_statements(_read(directory, "runner", "session.sql"), settings, registry)


def plan_schema(
    directory: str,
    history: Mapping[str, Any],
    settings: RunnerSettings,
    site_directory: str = "",
    prices: Sequence[Mapping[str, Any]] = (),
    budgets: Sequence[Mapping[str, Any]] = (),
    seed_prices: bool = True,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Compare the files with a history.

    Args:
        directory: holds `migrations/`, `repeatable/`, `seed/` and `runner/` of the collection.
        history: what `read_history_statements` made the database return.
        site_directory: a homelab's own migrations; empty for none.
        prices: a homelab's own prices.
        budgets: what language models may cost in a month.
        seed_prices: whether the price list of the collection is applied.
        registry: tools, policies and tokens; None leaves them alone. What applies the tokens is in no part of the result (`token_step`).

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
        "fill_statements": fill_statements(settings),
        "status": [],
    }
    try:
        bundle = read_migrations(os.path.join(directory, "migrations"))
        files = list(bundle)
        if site_directory:
            files += read_migrations(site_directory, SITE)
        repeatables = read_repeatables(os.path.join(directory, "repeatable"))
        price_lists = [PriceList("user", prices)]
        seed = _read(directory, "seed", "provider_pricing.yml") if seed_prices else ""
        if seed:
            price_lists.insert(0, PriceList("seed", (), digest=checksum(seed)))
    except PlanError as error:
        return {**result, "problems": [str(error)]}

    plan = plan_migrations(files, applied_from_rows(history["migrations"]))
    drifted = objects_to_restore(history.get("objects"))
    repeatable = pending_repeatables(repeatables, price_lists, history["repeatables"]) + drifted
    changes: list[tuple[list[str], LastStep | None]] = [*ledger_changes(history.get("ledger"), budgets, settings)]
    if registry is not None:
        changes += registry_changes(history.get("registry"), registry, settings)
    repeatable += [line for lines, _step in changes for line in lines]
    result["status"] = status_table(files, history["migrations"])
    result["applied"] = len(plan.applied)
    problems = [*history.get("problems", []), *plan.problems, *budget_conflicts(history.get("ledger"), budgets)]
    if registry is not None:
        problems += registry_problems(history.get("registry"), registry)
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
        lists = [read_price_list(seed) if each.origin == "seed" else each for each in price_lists]
        more = [step for _lines, step in changes if step is not None]
        result["repeatable_script"] = repeatable_script(session_sql, bundle, repeatables, lists, settings, run_id, more)
    return result


def read_price_list(text: str) -> PriceList:
    """The collection's price list, from the text of its file. It takes longer than the rest of a plan, so it is done only where needed."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(text, loader)  # noqa: S506 (both are safe)
    return PriceList("seed", content["prices"], content.get("source", ""), content.get("read_on", ""), checksum(text))


def _read(*path: str) -> str:
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()
