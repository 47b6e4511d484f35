"""What a login can wear out or break for the others beside the chain: they fail and say so, and nothing is ever lost."""

import contextlib

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import BUNDLE, MigrationFile
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import (
    LOCK_KEY,
    migration_batches,
)
from attack_field import ENTRY, LOGINS, refusal
from attacks import ATTACKERS
from test_attack_roles import assert_whole

ROLES = pytest.mark.parametrize("role", ATTACKERS)


@ROLES
@pytest.mark.parametrize(("place", "sqlstate"), [("1", "23505"), ("9223372036854775807", "2200H")])
def test_attack_numbers_used_up(field, role, place, sqlstate):
    """The counter of the entries is set back or to its end: writers fail and say so, and nothing that is there changes."""
    database = field.copy()
    goes_through = role in ("audit", "writer", "superuser")
    with contextlib.closing(field.login(role, database)) as attacker:
        refused = refusal(attacker, f"SELECT setval('audit_entries_id_seq', {place})")
    with contextlib.closing(field.login("application", database)) as victim:
        assert refused == (None if goes_through else "42501")
        assert refusal(victim, ENTRY) == (sqlstate if goes_through else None)
        database.session("admin").run("SELECT setval('audit_entries_id_seq', (SELECT max(id) FROM audit_entries))")
        assert refusal(victim, ENTRY) is None, "a superuser mends it in one statement"
        assert victim.value("SELECT valid FROM verify_audit_chain(%s)", field.kept.sequence)
    database.drop()


@ROLES
def test_attack_sessions_ended(field, victim, attacker, role):
    """A login may end sessions of its own role. What they had not committed is gone as a whole."""
    target = f"sessions of {role}"
    victim.insert("audit_entries", actor="victim", action="before", target_id=target, outcome="success")
    victim.run("BEGIN")
    victim.insert("audit_entries", actor="victim", action="after", target_id=target, outcome="success")
    refused = refusal(attacker, f"SELECT pg_terminate_backend({victim.connection.get_backend_pid()}, 10000)")
    if role in ("application", "superuser"):
        assert refused is None
        with pytest.raises(psycopg2.OperationalError):
            victim.run("COMMIT")
        expected = ["before"]
    else:
        assert refused == "42501"
        victim.run("COMMIT")
        expected = ["before", "after"]
    superuser = field.session("superuser")
    assert superuser.values("SELECT action FROM audit_entries WHERE target_id = %s ORDER BY id", target) == expected
    assert_whole(field)


@ROLES
def test_attack_settings_of_ones_own_role(field, attacker, role):
    """PostgreSQL lets every login change its own password and settings: its next sessions fail and say so."""
    setting = f"{LOGINS[role]} IN DATABASE {field.shared.name}"
    try:
        attacker.run(f"ALTER ROLE {setting} SET default_transaction_read_only = on")
        with contextlib.closing(field.login(role)) as session:
            assert refusal(session, ENTRY) in ("25006", "42501")
            assert session.value("SHOW default_transaction_read_only") == "on"
        for other in {"application", "readonly"} - {role}:
            with contextlib.closing(field.login(other)) as session:
                assert session.value("SHOW default_transaction_read_only") == "off"
    finally:
        field.session("superuser").run(f"ALTER ROLE {setting} RESET ALL")
    with contextlib.closing(field.login("application")) as session:
        assert refusal(session, ENTRY) is None
    assert_whole(field)


@ROLES
def test_attack_settings_of_another_role(field, attacker, role):
    """Only who may change a role may set what its sessions begin with."""
    statement = f"ALTER ROLE {LOGINS['application']} SET default_transaction_read_only = on"
    may = role in ("application", "superuser") or (role == "administrator" and field.version < 160000)
    attacker.run("BEGIN")
    refused = refusal(attacker, statement)
    attacker.run("ROLLBACK")
    assert refused == (None if may else "42501")


@ROLES
def test_attack_lock_of_the_migrations(field, attacker, role):
    """Everybody may hold it, and migrations then wait; the run names the holder and has changed nothing."""
    attacker.run(f"SELECT pg_advisory_lock({LOCK_KEY})")
    (batch,) = migration_batches(
        layer.read_sql("runner/session.sql"),
        [MigrationFile("900_x.sql", "00", "CREATE TABLE x ()", "owner", BUNDLE, 900, True)],
        layer.SETTINGS,
    )
    with contextlib.closing(field.login("superuser")) as runner:
        for statement in batch[:-2]:
            runner.run(statement)
        answer = runner.value(batch[-2])
        assert answer["locked"] is False
        assert f"of role {LOGINS[role]}," in answer["holder"]
        assert runner.value(batch[-1])["outcome"] == "not tried"
        assert runner.value("SELECT to_regclass('public.x')") is None


@ROLES
def test_attack_memory_for_locks_used_up(field, victim, attacker, role):
    """Any login can fill the memory that all sessions' locks share; others fail and say so, until it is gone."""
    assert refusal(attacker, "SELECT pg_advisory_lock(key) FROM generate_series(1, 1000000) AS key") == "53200"
    assert refusal(victim, ENTRY) in (None, "53200")
    attacker.close()
    while refusal(victim, ENTRY) == "53200":
        pass
    assert_whole(field)
