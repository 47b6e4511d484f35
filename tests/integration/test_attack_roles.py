"""Every attack by every role: refused with its SQLSTATE, or detected against a head that was kept outside the database."""

import psycopg2
import pytest
from attack_field import LOGINS, found_inside, found_outside, head, run
from attacks import ATTACKERS, DETECTED, HARMLESS, UNSEEN
from attacks_on_guards import GUARDS
from attacks_on_rows import CHANGES, FORGERIES

ATTACKS = [*CHANGES, *FORGERIES, *GUARDS]


def carry_out(session, attack, role):
    """SQLSTATE of the statement that was refused, or None."""
    for statement in attack.statements:
        try:
            run(session, statement.replace(" me", f" {LOGINS[role]}"), attack.rows)
        except psycopg2.Error as error:
            return error.pgcode
    return None


@pytest.mark.parametrize("role", ATTACKERS)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_attack(field, attack, role):
    session = field.session(role)
    expected = attack.outcome(role, field.version)
    session.run("BEGIN")
    refusal = carry_out(session, attack, role)
    if refusal is None and expected == DETECTED:
        inside, outside = found_inside(session, field.kept), found_outside(session, field.kept)
        session.run("ROLLBACK")
        assert attack.blinds == (inside is None), inside
        assert outside
    elif refusal is None and expected == HARMLESS:
        number, us = session.row("SELECT max(id) AS id, clock_timestamp() AS now FROM public.audit_entries").values()
        session.run("COMMIT")
        entry = session.row(
            "SELECT abs(extract(epoch FROM recorded_at - %s)) < 600 AS is_now, database_role, "
            "transaction_id < pg_current_xact_id()::text::bigint AND transaction_id > 3 AS is_ours "
            "FROM public.audit_entries WHERE id = %s",
            us,
            number,
        )
        assert entry == {"is_now": True, "database_role": LOGINS[role], "is_ours": True}
    else:
        session.run("ROLLBACK")
        assert refusal == (None if expected == UNSEEN else expected)
    assert_whole(field)


def assert_whole(field):
    """Afterwards the shared log holds what it held, and only ever more."""
    session = field.session("superuser")
    assert session.value("SELECT count(*) FROM audit_entries WHERE actor = 'alice'") == 10
    session.run("BEGIN")
    try:
        assert found_inside(session, field.kept) is None
        assert found_outside(session, field.kept) is None
    finally:
        session.run("ROLLBACK")


def test_the_head_that_was_kept_is_an_older_one(field):
    """Else the tests above would compare a head with itself."""
    field.session("application").run(
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('bob', 'write', 'success')"
    )
    assert head(field.session("superuser")).sequence > field.kept.sequence


@pytest.mark.parametrize("role", ATTACKERS)
def test_attack_drop_database(field, role):
    """What is gone cannot verify; only the owner of the database and a superuser can."""
    database = field.copy()
    session = field.session(role)
    if role in ("administrator", "superuser"):
        session.run(f"DROP DATABASE {database.name}")
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            field.login("readonly", database)
    else:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            session.run(f"DROP DATABASE {database.name}")
        database.drop()
