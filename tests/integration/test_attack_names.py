"""A function of the same name in our schema, put there by the owner of the objects: nobody else ever runs it."""

import contextlib

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import history_statements
from attack_field import ENTRY
from health_lab import MANIFEST, PATIENT

# Calls whose arguments these fit better than those of pg_catalog, or that PostgreSQL would prefer for a bare literal.
TRAPS = [
    "currval(text)",
    "format(text, bigint)",
    "format(text, bigint, bigint)",
    "format(text, text)",
    "format(text, name)",
    "format(text, name, name)",
    "format(text, text, text)",
    "format(text, text, text, text)",
    "jsonb_build_object(text, text, text, text)",
    "jsonb_build_object(text, boolean)",
    "to_jsonb(pg_auth_members)",
    "to_jsonb(pg_db_role_setting)",
    "unnest(text[])",
    "set_config(text, text, text)",
    "starts_with(text, name)",
    "pg_notify(text, name)",
]
# An aggregate may stand where pg_catalog has a window function.
AGGREGATES = ["array_agg(text)", "lag(bytea, integer, bytea)", "string_agg(text, name)"]


@pytest.fixture
def trapped(field):
    """A database in which the owner of the objects has set every trap; one that catches somebody else raises TRAP0."""
    database = field.copy()
    with contextlib.closing(field.login("owner", database)) as owner:
        body = "IF current_user <> 'mission_control_owner' THEN RAISE EXCEPTION 'as %', current_user USING ERRCODE = 'TRAP0'; END IF; RETURN NULL;"
        for signature in TRAPS:
            owner.run(f"CREATE FUNCTION {signature} RETURNS text LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
            owner.run(f"GRANT EXECUTE ON FUNCTION {signature} TO PUBLIC")
        for signature in AGGREGATES:
            name, arguments = signature[:-1].split("(")
            owner.run(
                f"CREATE FUNCTION {name}_step(text, {arguments}) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            )
            owner.run(f"CREATE AGGREGATE {signature} (SFUNC = {name}_step, STYPE = text)")
            owner.run(f"GRANT EXECUTE ON FUNCTION {name}_step(text, {arguments}), {signature} TO PUBLIC")
    yield database
    database.close()


def test_the_traps_would_catch(trapped):
    with pytest.raises(psycopg2.Error, match="as postgres") as caught:
        trapped.session("admin").run("SELECT format('%s', 'x'::text)")
    assert caught.value.pgcode == "TRAP0"


def test_attack_function_of_the_same_name(field, trapped):
    """Written and verified by others, the log runs nothing of the owner's as the owner of the audit log."""
    application = trapped.session("application")
    assert application.run(ENTRY) == 1
    for expected in (field.kept.sequence, 10_000, None):
        assert trapped.session("readonly").row("SELECT * FROM verify_audit_chain(%s)", expected)["verified"] == 11
    admin = trapped.session("admin")
    admin.run("BEGIN")
    for table in ("audit_entries", "audit_links"):
        admin.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for change in ("DELETE FROM audit_entries WHERE target_id = '3'", "DELETE FROM audit_links WHERE sequence = 1"):
        admin.run(change)
        assert "is missing" in admin.value("SELECT problem FROM public.verify_audit_chain()")
    admin.run("ROLLBACK")


def test_attack_function_of_the_same_name_on_the_administrator(trapped):
    """A provisioning run by a superuser, planning, migrations and repeatable files, runs nothing of the owner's as one."""
    layer.provision(trapped)
    with contextlib.closing(layer.Session(trapped.cluster.connect(trapped.name))) as session:
        *before, history = history_statements(layer.read_sql("runner/session.sql"), layer.SETTINGS)
        for statement in before:
            session.run(statement)
        assert len(session.value(history)["migrations"]) >= 6


def test_nor_does_a_health_check_by_one(trapped):
    server = trapped.cluster
    with Client(host=server.socket_directory, port=server.port, database=trapped.name, user="postgres") as client:
        report = check_health(client, MANIFEST, PATIENT, timeout=60)
    assert [check.message for check in report.checks if check.status == "fail"] == []


def test_every_function_has_a_fixed_search_path_in_every_schema(field):
    """Also those that a session of the migration runner makes for itself."""
    with contextlib.closing(layer.Session(field.cluster.connect(field.shared.name))) as session:
        session.run(layer.read_sql("runner/session.sql"))
        loose = session.values(
            """
            SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prosqlbody IS NULL
                AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%')
                AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal')
            """
        )
        assert loose == []
