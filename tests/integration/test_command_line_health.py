"""`mission-control health` and `status`: their exit codes, and what they say to people and programs."""

import json
import re

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.report import STATUSES
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import Manifest
from command import on_terminal, run_command

NAGIOS = {"pass": 0, "warn": 1, "fail": 2}


def health(database, *arguments, **options):
    """Exit code and report."""
    result = run_command(database, "health", "--json", *arguments, **options)
    report = json.loads(result.stdout)
    assert result.returncode == NAGIOS[report["status"]]
    return result.returncode, report


def test_a_healthy_database_is_0(database):
    code, report = health(database)
    assert code == 0
    checks = {check["name"]: check["status"] for check in report["checks"]}
    assert checks["connection"] == checks["migrations"] == checks["schema_objects"] == "pass"
    assert sum(report["counts"].values()) == len(checks)


def test_the_first_line_is_for_nagios_and_the_rest_is_a_table(database):
    lines = run_command(database, "health").stdout.splitlines()
    assert re.fullmatch(
        r"PASS: \d+ pass(, \d+ not visible)?(, \d+ not checked)?; database \w+ on \S+ port \d+ as mission_control",
        lines[0],
    )
    assert re.fullmatch(r"check +status +message", lines[2])
    column = lines[2].index("status")
    for line in lines[3:]:
        assert line[column:].startswith(STATUSES)
        assert line[column - 2 : column] == "  "


def test_a_warning_is_1(database):
    code, report = health(database, "--threshold", "latency_warn_ms=0")
    assert code == 1
    assert [check["name"] for check in report["checks"] if check["status"] == "warn"] == ["connection"]


def test_a_failure_is_2(database, admin):
    admin.run("ALTER TABLE token_usage DISABLE TRIGGER tr_token_usage_price")
    assert health(database)[0] == 2


def test_an_unreachable_server_is_2_and_quick(database):
    code, report = health(database, "--timeout", "5", POSTGRES_PORT="1")
    assert code == 2
    assert report["checks"][0]["status"] == "fail"
    assert {check["status"] for check in report["checks"][1:]} == {"not checked"}


def test_without_a_setting_that_is_right_it_is_3(database):
    for options in ({"POSTGRES_PORT": "many"}, {"DATABASE_URL": "nonsense"}, {"MISSION_CONTROL_ENV_FILE": "/no/file"}):
        result = run_command(database, "health", **options)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.count("\n") == 1


def test_without_a_server_the_reason_is_said_once(database):
    result = run_command(database, "health", "--timeout", "5", POSTGRES_PORT="1")
    assert result.returncode == 2
    told = " ".join(result.stdout.split())
    assert told.count("There was no connection.") == 1
    for name in ("migrations", "backups", "audit_chain"):
        assert name in told.partition("Not checked: ")[2]


def test_on_a_narrow_terminal_messages_are_folded(database):
    code, text = on_terminal(database, "health", columns=50, NO_COLOR="1")
    assert code == 0
    table = text.partition("\n\n")[2]
    assert max(map(len, table.splitlines())) <= 50
    assert re.search("^connection +pass", table, re.MULTILINE)


def test_a_terminal_sees_colours(database):
    code, text = on_terminal(database, "health", columns=200)
    assert code == 0
    assert text.startswith("\x1b[32mPASS\x1b[0m: ")
    assert re.search(r"^connection +\x1b\[32mpass\x1b\[0m ", text, re.MULTILINE)


def states(database, **options):
    """Exit code, and the state of each file by its name."""
    result = run_command(database, "status", "--json", **options)
    report = json.loads(result.stdout)
    assert report["current"] == (result.returncode == 0)
    return result.returncode, {file["name"]: file["state"] for file in report["files"]}


@pytest.mark.parametrize("role", ["application", "readonly", "monitor"])
def test_a_current_database_is_0(database, role):
    code, found = states(database, role=role)
    manifest = Manifest.built_in()
    assert code == 0
    assert found == {
        **{each.name: "applied" for each in manifest.migrations},
        **{each.name: "current" for each in manifest.repeatables},
    }
    text = run_command(database, "status", role=role).stdout
    assert re.search(r"^bundle +001_inventory\.sql +applied +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", text, re.MULTILINE)
    assert text.endswith(f"The database is current with version {manifest.version}.\n")


CHANGES = {
    "pending": (
        "DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)",
        Manifest.built_in().migrations[-1].name,
        "1 pending",
    ),
    "out of order": ("DELETE FROM schema_migrations WHERE version = 3", "003_llm.sql", "1 out of order"),
    "drifted": (
        "UPDATE schema_migrations SET checksum = repeat('a', 64) WHERE version = 2",
        "002_tasks.sql",
        "1 drifted",
    ),
    "ahead": (
        'INSERT INTO schema_migrations SELECT (jsonb_populate_record(m, \'{"version": 999, "name": "999_new.sql"}\')).* '
        "FROM schema_migrations AS m WHERE version = 5",
        "999_new.sql",
        "1 ahead",
    ),
    "outdated": (
        "UPDATE schema_repeatables SET checksum = repeat('a', 64) WHERE name = '005_views.sql'",
        "005_views.sql",
        "1 outdated",
    ),
}


@pytest.mark.parametrize("state", CHANGES)
def test_any_other_one_is_1_and_named(database, admin, state):
    statement, name, summary = CHANGES[state]
    admin.run(statement)
    code, found = states(database)
    assert code == 1
    assert {each for each in found if found[each] not in ("applied", "current")} == {name}
    assert found[name] == state
    assert run_command(database, "status").stdout.splitlines()[-1].endswith(f": {summary}.")


def test_a_homelabs_own_migrations_are_listed_as_recorded(database, admin):
    admin.run(
        'INSERT INTO schema_migrations SELECT (jsonb_populate_record(m, \'{"origin": "site", "name": "001_mine.sql"}\')).* '
        "FROM schema_migrations AS m WHERE version = 1"
    )
    code, found = states(database)
    assert (code, found["001_mine.sql"]) == (0, "recorded")


def test_a_database_without_a_schema_is_not_current(database):
    code, found = states(database, POSTGRES_DB="postgres", POSTGRES_USER="postgres")
    assert code == 1
    assert set(found.values()) == {"pending"}


def test_who_may_not_see_it_is_told_and_it_does_not_count_as_empty(database, admin):
    admin.run("CREATE ROLE stranger LOGIN")
    try:
        results = [run_command(database, "status", POSTGRES_USER="stranger")]
        admin.run("GRANT USAGE ON SCHEMA public TO stranger")
        results.append(run_command(database, "status", POSTGRES_USER="stranger"))
    finally:
        admin.run("DROP OWNED BY stranger")
        admin.run("DROP ROLE stranger")
    assert [(result.returncode, result.stdout) for result in results] == [(3, ""), (3, "")]
    assert "in the schema public, which this login may not use" in results[0].stderr
    assert "permission denied for table schema_migrations" in results[1].stderr


def test_a_server_that_is_not_what_is_expected_is_2(database):
    assert health(database, "--expected-role", "primary")[0] == 0
    code, report = health(database, "--expected-role", "standby")
    assert code == 2
    assert [check["name"] for check in report["checks"] if check["status"] == "fail"] == ["writable"]
