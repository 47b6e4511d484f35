# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: migration_plan
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Compare the SQL files of the schema with what a database has recorded
description:
  - Reads the migrations, the repeatable files and the price lists on the controller, compares them with the history that a database
    returned, and returns what is pending and the SQL that applies it. It connects to nothing and changes nothing.
  - Without O(history) it reads no file and returns only the statements that read the history.
options:
  _terms:
    description: Directory that holds C(migrations/), C(repeatable/), C(seed/) and C(runner/) of the collection.
    type: list
    elements: path
    required: true
  history:
    description: What the statements in RV(_raw[].history_statements) returned in the column C(history).
    type: dict
  site_directory:
    description: Directory of a homelab's own migrations, numbered from C(001) by themselves; empty for none.
    type: str
    default: ""
  prices:
    description: A homelab's own prices, in the form of C(seed/provider_pricing.yml). They are never overwritten by the seed.
    type: list
    elements: dict
    default: []
  schema:
    description: PostgreSQL schema of all objects.
    type: str
    default: public
  owner_role:
    description: NOLOGIN role that owns the objects.
    type: str
    default: mission_control_owner
  audit_role:
    description: NOLOGIN role that owns the audit log.
    type: str
    default: mission_control_audit
  lock_timeout:
    description: How long a statement of a migration waits for a lock, in milliseconds, before the whole file is tried again.
    type: int
    default: 5000
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show how many migrations the collection ships
  ansible.builtin.debug:
    msg: "{{ (lookup('homelab.mission_control.migration_plan', 'files/sql', history={'migrations': [], 'repeatables': []})).pending | length }}"
"""

RETURN = r"""
_raw:
  description: One plan.
  type: list
  elements: dict
  contains:
    history_statements:
      description: Statements for one connection; the last returns the history in a column C(history).
      type: list
      elements: str
    is_current:
      description: Whether nothing is pending and there is no problem.
      type: bool
    problems:
      description: Sentences. Where there is one, nothing may be applied.
      type: list
      elements: str
    applied:
      description: Number of migrations that are applied.
      type: int
    pending:
      description: Names of the migrations to apply, in order.
      type: list
      elements: str
    pending_repeatables:
      description: Names of the repeatable files and price lists that are not recorded as they are now, and of the functions, views and triggers
        that were changed since they were created.
      type: list
      elements: str
    grants_statements:
      description: Statements for one transaction that record that the grants were applied; empty when that is recorded.
      type: list
      elements: str
    batches:
      description: Lists of statements that apply the pending migrations, each for one connection in autocommit.
      type: list
      elements: list
    run_id:
      description: Random UUID under which this plan records what it replaces.
      type: str
    repeatable_script:
      description: One script that applies the repeatable files and price lists; empty when none is pending.
      type: str
    status:
      description: The state of every migration, as lines of a table.
      type: list
      elements: str
"""

import os
import uuid

import yaml
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    SITE,
    PlanError,
    applied_from_rows,
    plan_migrations,
    read_migrations,
    read_repeatables,
    status_table,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import (
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


class LookupModule(LookupBase):
    """Read the files, compare, and return the plan."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [self._plan(directory) for directory in terms]
        except OSError as error:
            raise AnsibleLookupError(f"{error.filename} cannot be read: {error.strerror}.") from error

    def _plan(self, directory: str) -> dict:
        session_sql = _read(directory, "runner", "session.sql")
        settings = RunnerSettings(
            schema=self.get_option("schema"),
            owner_role=self.get_option("owner_role"),
            audit_role=self.get_option("audit_role"),
            lock_timeout_ms=self.get_option("lock_timeout"),
        )
        result = {
            "history_statements": history_statements(session_sql, settings),
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
        history = self.get_option("history")
        if history is None:
            return result
        try:
            bundle = read_migrations(os.path.join(directory, "migrations"))
            files = list(bundle)
            if self.get_option("site_directory"):
                files += read_migrations(self.get_option("site_directory"), SITE)
            repeatables = read_repeatables(os.path.join(directory, "repeatable"))
            price_lists = self._price_lists(directory)
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
            result["repeatable_script"] = repeatable_script(
                session_sql, bundle, repeatables, price_lists, settings, run_id
            )
        return result

    def _price_lists(self, directory: str) -> list[PriceList]:
        seed = yaml.safe_load(_read(directory, "seed", "provider_pricing.yml"))
        return [PriceList("seed", seed), PriceList("user", self.get_option("prices"))]


def _read(*path: str) -> str:
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()
