"""Writing statements for a plan, and reading what became of them. What the statements do is tested against a server."""

import json

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    BUNDLE,
    MigrationFile,
    SqlFile,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import (
    PriceList,
    RunnerSettings,
    migration_batches,
    pending_repeatables,
    read_outcome,
)

SETTINGS = RunnerSettings(schema="public", owner_role="mission_control_owner", audit_role="mission_control_audit")


def migration(version, body="SELECT 1", transactional=True):
    return MigrationFile(f"{version:03d}_x.sql", "00", body, "owner", BUNDLE, version, transactional)


def test_nothing_pending_is_nothing_to_do():
    assert migration_batches("", [], SETTINGS) == []


def test_a_file_without_transaction_has_a_list_of_its_own():
    pending = [
        migration(1),
        migration(2),
        migration(3, "CREATE INDEX CONCURRENTLY i ON t (x);", transactional=False),
        migration(4),
    ]
    batches = migration_batches("SELECT 'session'", pending, SETTINGS)
    assert len(batches) == 3
    assert "CREATE INDEX CONCURRENTLY i ON t (x)" in batches[1]
    assert sum("apply_migration" in statement for statement in batches[0]) == 2


def test_a_body_is_quoted_whole():
    (batch,) = migration_batches("", [migration(1, "SELECT 'it''s 100%', E'\\n' /* $$ */")], SETTINGS)
    assert "E'SELECT ''it''''s 100%'', E''\\\\n'' /* $$ */'" in batch[-1]


def test_only_what_changed_is_pending():
    files = [SqlFile("001_a.sql", "aa", "", "owner"), SqlFile("002_b.sql", "bb", "", "owner")]
    prices = PriceList("seed", [{"provider": "ollama", "input": 0}])
    recorded = [{"name": "001_a.sql", "checksum": "aa"}, {"name": "002_b.sql", "checksum": "old"}]
    assert pending_repeatables(files, [prices], recorded) == ["002_b.sql", "prices:seed"]


def test_a_price_list_reads_dates_and_keeps_its_order_of_keys_stable():
    import datetime

    text = PriceList("user", [{"valid_from": datetime.date(2026, 1, 2), "provider": "x"}]).text
    assert json.loads(text) == [{"provider": "x", "valid_from": "2026-01-02"}]


def test_the_outcome_of_a_success():
    rows = [
        [{"outcome": {"locked": True}}],
        [{"outcome": {"outcome": "already applied", "name": "001_a.sql"}}],
        [{"outcome": {"outcome": "applied", "name": "002_b.sql"}}],
        {},
    ]
    outcome = read_outcome({"query_all_results": rows})
    assert (outcome.locked_out, outcome.applied, outcome.failure) == (False, ("002_b.sql",), "")


def test_the_outcome_of_a_failed_file_names_it():
    failed = {"outcome": "failed", "name": "002_b.sql", "message": "division by zero", "sqlstate": "22012"}
    outcome = read_outcome({"query_all_results": [[{"outcome": failed}]]})
    assert outcome.failure == "002_b.sql failed: division by zero (SQLSTATE 22012)"


def test_another_run_with_the_lock_is_no_failure():
    assert read_outcome({"query_all_results": [[{"outcome": {"locked": False, "holder": "x"}}]]}).locked_out


@pytest.mark.parametrize(
    ("raised", "locked_out", "failure"),
    [
        ("locked", True, ""),
        ("not tried", True, ""),
        ("already applied", False, ""),
        ("002_b.sql failed: x", False, "002_b.sql failed: x"),
    ],
)
def test_what_the_session_raised_is_told_from_its_source(raised, locked_out, failure):
    source = "RAISE EXCEPTION '%', format('mission_control%s<%s>', '_outcome', p_outcome)"
    message = (
        f"Cannot execute SQL '{source}' None: mission_control_outcome<{raised}>\nCONTEXT:  x, query list: ['{source}']"
    )
    outcome = read_outcome({"failed": True, "msg": message})
    assert (outcome.locked_out, outcome.failure) == (locked_out, failure)


def test_an_error_is_told_without_the_sql_around_it():
    message = "Cannot execute SQL 'SELECT secret' None: connection lost\n, query list: ['SELECT secret', 'SELECT 2']"
    assert read_outcome({"failed": True, "msg": message}).failure == "connection lost"
    assert read_outcome({"failed": True}).failure == "no message"
