"""What only reads, by a login with more rights than the owners: health check, status, verification. It runs nobody's code."""

from __future__ import annotations

import argparse
import contextlib
import io
import re

import psycopg2
import pytest
import traps
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.batches import verify_in_batches
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.recompute import recompute_audit_chain
from ansible_collections.homelab.mission_control.plugins.module_utils.cli import status as command_status
from ansible_collections.homelab.mission_control.plugins.module_utils.cli.output import Output
from ansible_collections.homelab.mission_control.plugins.module_utils.database.session import Session
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import MissionControlError
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.foreign_code import BOUND_PATH
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import TABLES, VIEWS
from ansible_collections.homelab.mission_control.plugins.modules import audit_chain
from health_lab import MANIFEST, PATIENT, login

ENTRY = (
    "INSERT INTO audit_entries (actor, action, outcome) SELECT 'alice', 'look', 'success' FROM generate_series(1, 3)"
)
WATCHER = "watcher"


def status(client):
    output = Output(io.StringIO(), io.StringIO())
    return command_status.run(argparse.Namespace(format="json"), client, output)


STEPS = {
    "health": lambda client: check_health(client, MANIFEST, PATIENT, 30),
    "status": status,
    "audit head": lambda client: client.audit_head(),
    "audit verify": lambda client: client.verify_audit_chain(),
    "audit verify in parts": lambda client: verify_in_batches(client, batch=1),
    "audit verify --recompute": recompute_audit_chain,
    "audit_chain": lambda client: audit_chain.verify(client, [], []),
    "within a transaction": lambda client: _within(client),
}


def _within(client):
    with client.transaction() as transaction:
        return transaction.verify_audit_chain(), transaction.audit_head()


def take_all_steps(database, role="postgres"):
    """What each says: its result, or its error, which is a sentence."""
    said = {}
    with login(database, role) as client:
        for name, step in STEPS.items():
            try:
                said[name] = step(client)
            except MissionControlError as error:
                said[name] = str(error)
    return said


@pytest.fixture
def written(database, application, admin):
    """A database in which each table that is read has a row."""
    application.run(ENTRY)
    admin.insert("hosts", name="nas", type="vm")
    admin.run("INSERT INTO tasks (title, created_by) VALUES ('Restart', 'alice')")
    admin.run("INSERT INTO task_runs (task_id, user_prompt, status) SELECT id, 'now', 'running' FROM tasks")
    admin.run("INSERT INTO task_events (task_run_id, sequence, type) SELECT id, 1, 'log' FROM task_runs")
    return database


@pytest.fixture
def watcher(written, admin):
    """A login that is no superuser and may read everything that there is, here and on the server."""
    admin.run(f"CREATE ROLE {WATCHER} LOGIN IN ROLE pg_monitor, pg_read_all_data")
    yield WATCHER
    admin.run(f"DROP ROLE {WATCHER}")


@pytest.mark.parametrize("sort", traps.SORTS)
def test_no_trap_goes_off(written, watcher, sort):
    admin = written.session("admin")
    planted = []
    with traps.planter(written) as owner, traps.planter(written, "mission_control_audit") as auditor:
        for session, tables in ((owner, ("schema_migrations", "task_events")), (auditor, ("audit_links",))):
            if sort in traps.ON_TABLES:
                planted += [(table, traps.plant(session, sort, table)) for table in tables]
        if sort in traps.BY_NAME:
            planted.append(("", traps.plant(owner, sort)))

        said = {role: take_all_steps(written, role) for role in ("postgres", watcher)}

        for table, trap in planted:
            assert not traps.fired(written.cluster, trap) & {"postgres", watcher}, (table, said)
        # The control: where nothing protects, they do.
        for table, trap in planted:
            traps.set_off(admin, trap)
            assert "postgres" in traps.fired(written.cluster, trap), table


@pytest.mark.parametrize("role", ["postgres", "monitor"])
def test_what_is_not_read_is_named_with_the_reason(written, role):
    with traps.planter(written) as owner:
        traps.plant(owner, "view", "schema_migrations")
        traps.plant(owner, "index expression", "schema_repeatables")

        with login(written, role) as client:
            report = check_health(client, MANIFEST, PATIENT, 30)

    assert report.check("migrations").message == (
        "schema_migrations is a view; it was not read, since that could run code of others with the rights of this login."
    )
    uses = "schema_repeatables uses what is not PostgreSQL's own: function public.trap_"
    assert report.check("repeatables").message.startswith(uses)
    looked_at = ("migrations", "repeatables", "schema_objects", "audit_chain")
    assert [report.check(name).status for name in looked_at] == ["fail", "fail", "fail", "pass"]


# In place of verify_audit_chain and verify_audit_links, by somebody to whom the schema belongs, who may drop what is in it.
INSTEAD = {
    "runs as the caller": "SECURITY INVOKER",
    "asks for the caller's role": "SECURITY DEFINER SET role TO 'none'",
    "runs as its owner": "SECURITY DEFINER",
}


@pytest.mark.parametrize("how", INSTEAD)
def test_a_function_in_the_place_of_ours_is_not_called(written, how):
    admin = written.session("admin")
    admin.run(
        "DROP FUNCTION verify_audit_chain(bigint, bytea, bigint, bytea), verify_audit_links(bigint, bytea, bigint);"
        "ALTER SCHEMA public OWNER TO mission_control_owner"
    )
    with traps.planter(written) as owner:
        trap = traps.plant(owner, "function")
        for name, arguments in (
            ("verify_audit_chain", "bigint, bytea, bigint, bytea"),
            ("verify_audit_links", "bigint, bytea, bigint"),
        ):
            owner.run(
                f"CREATE FUNCTION {name}({arguments}, OUT valid boolean, OUT verified bigint, OUT head_sequence bigint,"
                " OUT head_digest bytea, OUT first_bad_sequence bigint, OUT problem text, OUT last_sequence bigint,"
                f" OUT last_digest bytea) LANGUAGE plpgsql {INSTEAD[how]} AS"
                f" $$ BEGIN PERFORM public.{trap.tag}(); valid := true; verified := 0; END $$"
            )
        said = take_all_steps(written)

        assert not traps.fired(written.cluster, trap)
        assert said["audit verify"].startswith(
            "There is no function verify_audit_chain that belongs to the owner of the audit log"
        )
        traps.set_off(
            admin,
            traps.Trap(
                trap.tag,
                "SELECT * FROM public.verify_audit_chain(NULL::bigint, NULL::bytea, NULL::bigint, NULL::bytea)",
            ),
        )
        assert bool(traps.fired(written.cluster, trap) & {"postgres"}) == (how == "runs as the caller")


def test_what_a_function_of_the_audit_owner_leaves_behind_is_undone(written):
    """Should that role ever be had by somebody: it does not become the login that verifies."""
    written.session("admin").run("GRANT CREATE ON SCHEMA public TO mission_control_audit")
    with traps.planter(written, "mission_control_audit") as auditor:
        trap = traps.plant(auditor, "function")
        auditor.run(
            "CREATE OR REPLACE FUNCTION verify_audit_chain("
            " p_expected_sequence bigint DEFAULT NULL, p_expected_digest bytea DEFAULT NULL,"
            " p_checkpoint_sequence bigint DEFAULT NULL, p_checkpoint_digest bytea DEFAULT NULL,"
            " OUT valid boolean, OUT verified bigint, OUT head_sequence bigint, OUT head_digest bytea,"
            " OUT first_bad_sequence bigint, OUT problem text) LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            f" EXECUTE 'DECLARE left_behind CURSOR WITH HOLD FOR SELECT public.{trap.tag}()';"
            " PERFORM pg_catalog.set_config('search_path', 'public, pg_catalog', false);"
            " valid := true; verified := 3; head_sequence := 3; head_digest := pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex');"
            " END $$"
        )
        take_all_steps(written)
        assert not traps.fired(written.cluster, trap) & {"postgres"}


@pytest.mark.parametrize(
    "overload",
    [
        "verify_audit_links(bigint, bytea, integer)",
        "verify_audit_chain(bigint)",
        "verify_audit_chain(bigint, bytea, bigint, text)",
    ],
)
@pytest.mark.parametrize("role", ["postgres", "monitor", "application"])
def test_a_function_of_the_same_name_beside_ours_is_in_nobodys_way(written, overload, role):
    with traps.planter(written) as owner:
        owner.run(f"CREATE FUNCTION {overload} RETURNS text LANGUAGE sql AS $$ SELECT 'caught' $$")

        with login(written, role) as client:
            assert check_health(client, MANIFEST, PATIENT, 30).check("audit_chain").status == "pass"
            assert client.verify_audit_chain().verified == 3
            assert verify_in_batches(client, batch=1).verified == 3


@pytest.mark.parametrize("role", ["postgres", "monitor", "application"])
def test_each_statement_is_sent_with_bound_names(written, role, monkeypatch):
    """Whatever names something has nothing but PostgreSQL's own schema to look it up in, and ours are named with their schema."""
    sent = []
    original = Session.query

    def watched(session, sql, *arguments, **more):
        # In a transaction that failed nothing else is asked than to go back.
        with contextlib.suppress(psycopg2.errors.InFailedSqlTransaction), session.connection.cursor() as cursor:
            cursor.execute("SHOW search_path")
            sent.append((cursor.fetchone()[0], str(sql)))
        return original(session, sql, *arguments, **more)

    monkeypatch.setattr(Session, "query", watched)
    take_all_steps(written, role)

    ours = re.compile(rf"(?<![\w.\"'])(?:{'|'.join((*TABLES, *VIEWS))})(?![\w'\"])(?!\s*\.)")
    free = re.compile(
        r"(SELECT 1|BEGIN[ A-Z]*|COMMIT|ROLLBACK|(RELEASE|ROLLBACK TO|SAVEPOINT) \w+|SET TRANSACTION READ ONLY)"
    )
    binding = "SELECT pg_catalog.set_config('mission_control.search_path'"
    for path, sql in sent:
        first = next(
            (each for each in sql.split("; ") if not free.fullmatch(each) and not each.startswith("SET LOCAL ")), None
        )
        assert first is None or path == BOUND_PATH or first.startswith(binding), (path, sql)
        named = ours.findall(re.sub(r"'[^']*'", "", sql))
        assert not named, (named, sql)
    assert len(sent) > 60


@pytest.mark.parametrize(
    "signature", ["verify_audit_links(bigint, bytea)", "verify_audit_chain(bigint, bytea, bigint, bytea, text)"]
)
def test_who_may_read_the_log_needs_no_function_of_it(written, signature):
    with traps.planter(written) as owner:
        parameters = signature.replace("text)", "more text DEFAULT '')")
        owner.run(f"CREATE FUNCTION {parameters} RETURNS text LANGUAGE sql AS $$ SELECT 'caught' $$")

        with login(written, "postgres") as client:
            assert check_health(client, MANIFEST, PATIENT, 30).check("audit_chain").status == "pass"
            assert recompute_audit_chain(client).verified == 3


@pytest.mark.parametrize(
    "statement", ["CREATE STATISTICS s ON (name || 'x') FROM hosts", "CREATE INDEX ON task_runs (id)"]
)
def test_what_was_looked_at_is_not_changed_before_it_is_read(written, statement, monkeypatch):
    """Between the look and the reading an owner can add nothing that the planner would compute."""
    refused = []
    original = Session.query
    with traps.planter(written) as owner:
        owner.run("SET lock_timeout = '20ms'")

        def racing(session, sql, *arguments, **more):
            if "FROM ONLY" in str(sql) and "task_runs" in str(sql):
                with pytest.raises(psycopg2.errors.LockNotAvailable):
                    owner.run(statement)
                refused.append(sql)
            return original(session, sql, *arguments, **more)

        monkeypatch.setattr(Session, "query", racing)
        with login(written, "postgres") as client:
            assert check_health(client, MANIFEST, PATIENT, 30).check("stale_task_runs").status == "pass"
    assert refused
