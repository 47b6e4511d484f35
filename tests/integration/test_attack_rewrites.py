"""History rewritten by somebody who can: with the triggers off, and with the whole chain computed anew.

Every case is a transaction that is rolled back, so that all of them meet the same entries.
"""

import contextlib
import os
import random

import pytest
from attack_field import found_inside, found_outside, head
from attack_seed import attack_seed

EDITS = int(os.environ.get("MISSION_CONTROL_ATTACK_EDITS", "60"))
TABLES = ("audit_entries", "audit_links", "audit_head")
REWRITES = {
    "cut-off-the-tail": "DELETE FROM audit_entries WHERE target_id >= '8'",
    "cut-off-the-front": "DELETE FROM audit_entries WHERE target_id < '2'",
    "cut-out-the-middle": "DELETE FROM audit_entries WHERE target_id IN ('4', '5')",
    "edit-an-entry": "UPDATE audit_entries SET actor = 'mallory' WHERE target_id = '4'",
    "edit-the-last-entry": "UPDATE audit_entries SET outcome = 'denied' WHERE target_id = '9'",
    "swap-two-entries": "UPDATE audit_entries SET target_id = CASE target_id WHEN '3' THEN '4' ELSE '3' END WHERE target_id IN ('3', '4')",
    "slip-in-an-entry": "INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE "
    "VALUES (-1, 'mallory', 'never', 'success')",
    "remove-everything": "DELETE FROM audit_entries",
}
# What a careful attacker does after it: links and head as if that had always been the log.
REBUILD = """
DO $rebuild$
DECLARE
    head audit_head;
    entry audit_entries;
    entries CONSTANT audit_entries[] := ARRAY(
        SELECT e FROM audit_entries AS e LEFT JOIN audit_links AS l ON l.entry_id = e.id ORDER BY l.sequence NULLS FIRST
    );
BEGIN
    head.sequence := 0;
    head.digest := decode(repeat('00', 32), 'hex');
    DELETE FROM audit_links;
    FOREACH entry IN ARRAY entries LOOP
        head.sequence := head.sequence + 1;
        head.digest := audit_digest(head.digest, head.sequence, entry);
        INSERT INTO audit_links VALUES (head.sequence, entry.id, head.digest);
    END LOOP;
    UPDATE audit_head SET sequence = head.sequence, digest = head.digest;
END
$rebuild$
"""
COLUMNS = {
    "recorded_at": "recorded_at + %s * interval '1 microsecond'",
    "database_role": "database_role || %s::text",
    "transaction_id": "transaction_id + %s",
    "actor": "actor || %s::text",
    "action": "%s::text || action",
    "target_type": "coalesce(target_type, '') || left(%s::text, 0)",
    "target_id": "NULLIF(%s, %s)::text",
    "details": "details || jsonb_build_object('n', %s)",
    "source_address": "'10.0.0.0'::inet + %s",
}


@contextlib.contextmanager
def tampering(field, role="superuser"):
    """A transaction of somebody who may do everything to the tables, with their triggers off; it is rolled back."""
    with contextlib.closing(field.login(role, field.untouched)) as session:
        session.run("BEGIN")
        if role == "administrator":
            session.run("GRANT mission_control_audit TO attack_administrator")
            session.run("SET LOCAL ROLE mission_control_audit")
        for table in TABLES:
            session.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield session
        session.run("ROLLBACK")


@pytest.mark.parametrize("role", ["superuser", "audit", "administrator"])
@pytest.mark.parametrize("care", ["careless", "careful"])
@pytest.mark.parametrize("rewrite", REWRITES)
def test_rewrite(field, rewrite, care, role):
    if role == "administrator" and field.version >= 160000:
        with pytest.raises(Exception, match="permission denied"), tampering(field, role):
            pass
        return
    with tampering(field, role) as session:
        session.run(REWRITES[rewrite])
        if care == "careful":
            session.run(REBUILD)
            assert session.value("SELECT valid FROM verify_audit_chain()"), "from inside nothing is to be seen"
        assert found_inside(session, field.kept)
        assert found_outside(session, field.kept)


def test_what_is_not_rewritten_verifies(field):
    """Else the tests above could not fail."""
    with tampering(field) as session:
        assert head(session) == field.kept
        session.run(REBUILD)
        assert head(session) == field.kept, "the same log has the same head"
        assert found_inside(session, field.kept) is None
        assert found_outside(session, field.kept) is None


def test_every_edit_of_every_column_shows(field):
    """Random edits of one value of one entry, by the whole of the columns that a digest covers."""
    dice = random.Random(attack_seed())
    for number in range(EDITS):
        column = list(COLUMNS)[number % len(COLUMNS)]
        amount, target = dice.randrange(1, 1_000_000), str(dice.randrange(10))
        change = COLUMNS[column]
        with tampering(field) as session:
            session.run(
                f"UPDATE audit_entries SET {column} = {change} WHERE target_id = %s",
                *[amount] * change.count("%s"),
                target,
            )
            assert found_inside(session, field.kept), (column, amount, target)
            assert found_outside(session, field.kept), (column, amount, target)


def test_every_byte_of_every_link_counts(field):
    with tampering(field) as session:
        for byte in range(32):
            session.run("SAVEPOINT byte")
            session.run(
                "UPDATE audit_links SET digest = set_byte(digest, %s, get_byte(digest, %s) # 1) WHERE sequence = 5",
                byte,
                byte,
            )
            assert session.value("SELECT first_bad_sequence FROM verify_audit_chain()") == 5
            assert found_outside(session, field.kept)
            session.run("ROLLBACK TO byte")
