"""What a site-local migration tries, which a run applies as the owner of the objects, and what it has put there before others come."""

from __future__ import annotations

import uuid
from dataclasses import replace

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import SITE as FROM_SITE
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    PlanError,
    read_migrations,
)
from attacks_on_tools import SITE
from migration_run import MigrationRun
from tool_field import TOKENS, differences

BUNDLE = read_migrations(str(layer.SQL / "migrations"))


class Site:
    """A directory of site-local migrations, of which each run applies one more, or fails and leaves no trace."""

    def __init__(self, field):
        self.field = field
        self.files = []
        MigrationRun(field.database.cluster, field.database.name, BUNDLE).run()

    def run(self, body):
        """How the role says what stopped the run; empty where it went through."""
        number = len(self.files) + 1
        file = replace(
            BUNDLE[0], name=f"{number:03d}_site.sql", body=body, checksum=body, origin=FROM_SITE, version=number
        )
        run = MigrationRun(self.field.database.cluster, self.field.database.name, [*BUNDLE, *self.files, file])
        try:
            run.run()
        except (psycopg2.Error, AssertionError) as error:
            return str(error)
        self.files.append(file)
        return ""


@pytest.fixture(scope="module")
def site(tool_field):
    tool_field.approved()
    return Site(tool_field)


@pytest.mark.parametrize("attack", SITE, ids=lambda attack: attack.id)
def test_attack_by_a_site_local_migration(tool_field, site, attack):
    before = tool_field.calls()
    assert f"(SQLSTATE {attack.outcome})" in site.run(attack.sql)
    assert tool_field.calls() == before
    assert tool_field.rules_are_whole()
    assert site.run(attack.twin) == "", "its twin"


def test_attack_site_runs_as_the_audit_role(tmp_path):
    (tmp_path / "001_mine.sql").write_text("-- role: audit\nSELECT 1")
    with pytest.raises(PlanError, match="which only this collection's own files may have"):
        read_migrations(str(tmp_path), FROM_SITE)
    (tmp_path / "001_mine.sql").write_text("-- role: owner\nSELECT 1")
    assert read_migrations(str(tmp_path), FROM_SITE)[0].role == "owner"


TRAP = """
CREATE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'mission_control_owner' THEN RAISE EXCEPTION 'as %', current_user USING ERRCODE = 'TRAP0'; END IF;
    RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION {name}({arguments}) TO PUBLIC;
"""
# What fits better than PostgreSQL's own where a search path names our schema, or than ours where an argument has no type.
TRAPS = [
    ("sha256", "text", "bytea"),
    ("jsonb_typeof", "json", "text"),
    ("octet_length", "jsonb", "integer"),
    ("now", "", "timestamptz"),
    ("site_contains", "jsonb, jsonb", "boolean"),
    ("site_equals", "text, text", "boolean"),
    ("site_merges", "jsonb, jsonb", "jsonb"),
    ("pg_notify", "text, varchar", "text"),
]
OPERATORS = """
CREATE OPERATOR @> (FUNCTION = site_contains, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE OPERATOR = (FUNCTION = site_equals, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR || (FUNCTION = site_merges, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE FUNCTION site_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = 'mission_control_audit' THEN RAISE EXCEPTION 'as %', current_user USING ERRCODE = 'TRAP0'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER site_run BEFORE INSERT OR UPDATE ON task_runs FOR EACH ROW EXECUTE FUNCTION site_run();
CREATE TABLE site_policies (name text);
"""


def test_attack_site_sets_traps(tool_field, site):
    """What a site-local migration has put there before: operators, functions, a trigger on the runs; nothing of it runs in our functions."""
    for name, arguments, result in TRAPS:
        assert site.run(TRAP.format(name=name, arguments=arguments, result=result)) == ""
    assert site.run(OPERATORS) == ""
    before = tool_field.calls()
    for who in ("application", "executor", "alice", "admin"):
        tool_field.session(who).run("SET search_path = public, pg_catalog")
    # The control: where nothing protects, they go off.
    with pytest.raises(psycopg2.Error, match="as postgres") as caught:
        tool_field.session("admin").run("SELECT '{}'::jsonb @> '{}'::jsonb")
    assert caught.value.pgcode == "TRAP0"
    try:
        call = tool_field.finished(str(uuid.uuid4()))
        assert tool_field.calls()[call]["status"] == "succeeded"
        tool_field.session("executor").run("SELECT expire_tool_calls()")
        tool_field.session("application").run("SELECT roll_up_tool_calls()")
        withdrawn = tool_field.request()
        assert tool_field.session("application").row("SELECT * FROM cancel_tool_call(%s::uuid)", withdrawn)["accepted"]
        assert tool_field.session("alice").rows("SELECT * FROM waiting_tool_calls()") is not None
    finally:
        for who in ("application", "executor", "alice", "admin"):
            tool_field.session(who).run("RESET search_path")
        tool_field.session("admin").run(
            "DROP FUNCTION "
            + ", ".join(f"public.{name}({arguments})" for name, arguments, _ in TRAPS)
            + ", public.site_run() CASCADE"
        )
    assert differences(before, tool_field.calls()) == {}


def test_attack_site_plants_functions_of_our_names(tool_field, site):
    """One of another signature may fit a call without types better than ours: ours are called with types, and the next run names the other."""
    assert (
        site.run(
            "CREATE FUNCTION decide_tool_call(text, text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
        == ""
    )
    try:
        said = site.run("SELECT 1")
        assert "holds the function public.decide_tool_call(text,text,text,text) of mission_control_owner" in said
        call = tool_field.checked()
        typed = "SELECT * FROM decide_tool_call(%s::uuid, 'approve'::text, 'it hangs'::text, %s::text)"
        assert tool_field.session("service").row(typed, call, "x" * 40)["accepted"] is False
        assert tool_field.session("service").row(typed, call, TOKENS["carol", "approver"])["accepted"]
    finally:
        tool_field.session("admin").run("DROP FUNCTION public.decide_tool_call(text, text, text, text)")
