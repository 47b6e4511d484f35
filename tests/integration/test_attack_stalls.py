"""What can hold up the others: refused, of no effect, or ended by a time-out; nothing is ever lost and the chain never forks.

The functions named test_attack_… are the attacks that are more than statements in an open transaction; docs/audit.md lists
them by the rest of the name.
"""

import threading

import psycopg2
import pytest
from attack_field import ENTRY, LOGINS, refusal
from attacks import ATTACKERS, HARMLESS
from attacks_that_stall import HOLDS, STALLS
from silent_client import SilentClient
from test_attack_roles import assert_whole, carry_out

ROLES = pytest.mark.parametrize("role", ATTACKERS)
WRITERS = pytest.mark.parametrize("role", ["application", "owner", "audit", "writer", "superuser"])


@ROLES
@pytest.mark.parametrize("attack", HOLDS, ids=lambda attack: attack.id)
def test_stall(field, victim, attacker, attack, role):
    expected = attack.outcome(role, field.version)
    attacker.run("BEGIN")
    refused = carry_out(attacker, attack, role)
    if expected == STALLS:
        victim.run("SET lock_timeout = '100ms'")
    held_up = refusal(victim, ENTRY)
    attacker.run("ROLLBACK")
    assert refused == (expected if expected not in (STALLS, HARMLESS) else None)
    assert held_up == ("55P03" if expected == STALLS else None)
    assert refusal(victim, ENTRY) is None, "when the attacker is gone, work goes on"
    assert_whole(field)


@WRITERS
def test_attack_cursor_held_over_commit(field, victim, attacker, role):
    """The query of a WITH HOLD cursor is run by the commit, after the chain's head was locked."""
    attacker.run("BEGIN")
    attacker.run(ENTRY)
    attacker.run("DECLARE slow CURSOR WITH HOLD FOR SELECT pg_sleep(3600)")
    committing = threading.Thread(target=lambda: refusal(attacker, "COMMIT"))
    committing.start()
    try:
        held_up = refusal(victim, ENTRY)
    finally:
        attacker.connection.cancel()
        committing.join(timeout=60)
    assert held_up is None
    assert_whole(field)


def test_a_cursor_from_an_earlier_transaction_is_no_hindrance(field, victim):
    victim.run("DECLARE kept CURSOR WITH HOLD FOR SELECT 1")
    assert refusal(victim, ENTRY) is None
    assert victim.values("FETCH ALL FROM kept") == [1]


def test_an_entry_beside_a_cursor_that_is_held_is_refused(victim):
    victim.run("BEGIN")
    victim.run(ENTRY)
    victim.run("DECLARE kept CURSOR WITH HOLD FOR SELECT 1")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="WITH HOLD"):
        victim.run("COMMIT")


@WRITERS
def test_attack_client_that_does_not_read(field, victim, role):
    """A server process that has something to say to a client that does not read waits for ever, with all its locks."""
    with SilentClient(field.cluster, field.shared.name, LOGINS[role]) as client:
        client.query("SET plan_cache_mode = force_custom_plan")
        client.query(
            "BEGIN; INSERT INTO audit_entries (actor, action, outcome) "
            "SELECT 'mallory', 'flood', 'success' FROM generate_series(1, 400)"
        )
        client.send("SET LOCAL client_min_messages = debug5; SET LOCAL debug_print_plan = on; COMMIT")
        client.wait_until_it_waits_or_is_done()
        assert refusal(victim, ENTRY) is None
    assert_whole(field)


@WRITERS
def test_attack_flood(field, victim, attacker, role):
    """While thousands of entries of one transaction are linked, the others wait their turn."""
    attacker.run("BEGIN")
    attacker.run(
        "INSERT INTO audit_entries (actor, action, outcome) SELECT 'mallory', 'flood', 'success' FROM generate_series(1, 3000)"
    )
    committing = threading.Thread(target=lambda: attacker.run("COMMIT"))
    committing.start()
    victim.run("SET lock_timeout = '60s'")
    assert refusal(victim, ENTRY) is None
    committing.join(timeout=60)
    assert_whole(field)
