"""What the schema role does to a database, statement by statement and without Ansible: a run costs a hundredth of a play."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass, field

import mission_control_database as layer
import psycopg2
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    BUNDLE,
    applied_from_rows,
    plan_migrations,
    read_repeatables,
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
    read_outcome,
    record_grants_statements,
    repeatable_script,
)

SESSION = layer.read_sql("runner/session.sql")
PRIVILEGES = layer.read_sql("privileges.yml")
REPEATABLES = read_repeatables(str(layer.SQL / "repeatable"))
PATIENCE = 60


class MigrationError(AssertionError):
    """A migration did not go through; its message is how the role says it."""


@dataclass
class MigrationRun:
    """Runs of one set of files by one administrator; `after` is called after each statement that was carried out.

    Repeatable files, prices and privileges are the collection's own unless others are given. run() returns what it changed: names of
    migrations, and of the repeatable files, lists and grants that it recorded.
    """

    cluster: object
    database: str
    files: list
    user: str = "postgres"
    after: object = field(default=lambda: None)
    settings: RunnerSettings = layer.SETTINGS
    repeatables: list = field(default_factory=lambda: REPEATABLES)
    seed: PriceList = field(default_factory=layer.seed_list)
    privileges: str = PRIVILEGES

    def run(self) -> list[str]:
        history = self._carry_out(history_statements(SESSION, self.settings))[0]
        plan = plan_migrations(self.files, applied_from_rows(history["migrations"]))
        problems = [*plan.problems, *history["problems"]]
        assert not problems, problems
        done = []
        for batch in migration_batches(SESSION, plan.pending, self.settings):
            done += [each["name"] for each in self._carry_out(batch, locked=True) if each.get("outcome") == "applied"]
        prices = [self.seed, PriceList("user", [])]
        run_id = str(uuid.uuid4())
        bundle = [file for file in self.files if file.origin == BUNDLE]
        pending = pending_repeatables(self.repeatables, prices, history["repeatables"])
        drifted = objects_to_restore(history["objects"])
        pending += drifted
        if pending:
            self._carry_out(
                [repeatable_script(SESSION, bundle, self.repeatables, prices, self.settings, run_id)], locked=True
            )
        digest = grants_checksum(self.privileges, [*self.files, *self.repeatables])
        if drifted or digest not in [row["checksum"] for row in history["repeatables"] if row["name"] == GRANTS]:
            with self._connection() as connection:
                wanted = {**layer.wanted(self.database), "privileges": layer.parsed(self.privileges)}
                pending += layer.carry_out(connection, wanted, ["plan/schema_privileges.sql"], ["schema"])
            self.after()
            with self._connection() as connection:
                connection.autocommit = False
                with connection, connection.cursor() as cursor:
                    for statement in record_grants_statements(SESSION, digest, self.settings, run_id):
                        cursor.execute(statement)
            self.after()
            pending.append(GRANTS)
        return done + pending

    def failure(self) -> str:
        """How the role would say what stops the run; fails where nothing does."""
        try:
            done = self.run()
        except psycopg2.Error as error:
            return read_outcome({"failed": True, "msg": str(error)}).failure
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"the run went through: {done}")

    def _connection(self):
        return contextlib.closing(self.cluster.connect(self.database, self.user))

    def _carry_out(self, statements, locked=False):
        """Answers of the statements; as the role does, it tries again while another session has the lock."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answers, held = [], False
            with self._connection() as connection, connection.cursor() as cursor:
                for statement in statements:
                    try:
                        cursor.execute(statement)
                    except Exception as error:
                        held = locked and any(
                            word in str(error) for word in ("_outcome<locked>", "_outcome<not tried>")
                        )
                        if not held:
                            raise
                        break
                    answer = cursor.fetchone() if cursor.description else None
                    if answer and isinstance(answer[0], dict):
                        held = held or answer[0].get("locked") is False
                        if answer[0].get("outcome") == "failed":
                            raise MigrationError(
                                read_outcome({"query_all_results": [[{"outcome": answer[0]}]]}).failure
                            )
                        answers.append(answer[0])
                    if not held:
                        self.after()
            if not held:
                return answers
            assert time.monotonic() < deadline, answers
            time.sleep(0.1)
