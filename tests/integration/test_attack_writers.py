"""Many writers at once, at every isolation level, who abort, roll back to savepoints, and are killed: the chain stays whole.

MISSION_CONTROL_ATTACK_WRITERS, _TRANSACTIONS (of each writer) and _ROUNDS make it longer; _SEED repeats the dice of a round.
"""

import contextlib
import os
import random
import threading

import psycopg2
import psycopg2.errorcodes
import pytest
from attack_field import found_inside, found_outside, head
from attack_seed import attack_seed

WRITERS = int(os.environ.get("MISSION_CONTROL_ATTACK_WRITERS", "16"))
TRANSACTIONS = int(os.environ.get("MISSION_CONTROL_ATTACK_TRANSACTIONS", "20"))
ROUNDS = int(os.environ.get("MISSION_CONTROL_ATTACK_ROUNDS", "2"))
ISOLATION = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
# What a writer may meet: a lost race, a deadlock of its own making, its own abort. A killed one has no connection.
EXPECTED = {
    psycopg2.errorcodes.SERIALIZATION_FAILURE,
    psycopg2.errorcodes.DEADLOCK_DETECTED,
    psycopg2.errorcodes.DIVISION_BY_ZERO,
}


class Writer(threading.Thread):
    """Writes transactions of dice; remembers which entries are committed, and which nobody knows of."""

    def __init__(self, field, database, number, seed):
        super().__init__()
        self.name = f"writer {number}"
        self.dice = random.Random(seed * 1000 + number)
        self._field, self._database = field, database
        self.session = self.login()
        self.committed, self.unknown, self.lost, self.failure = set(), set(), 0, None

    def login(self):
        for _ in range(20):
            # A session may be killed while it logs in.
            with contextlib.suppress(psycopg2.OperationalError):
                return self._field.login("application", self._database)
        raise AssertionError("twenty logins were killed")

    def run(self):
        try:
            for number in range(TRANSACTIONS):
                self.attempt(f"{self.name}/{number}")
        except Exception as error:
            self.failure = error
        finally:
            self.session.close()

    def attempt(self, label):
        written, committing = set(), False
        try:
            self.session.run(f"BEGIN ISOLATION LEVEL {self.dice.choice(ISOLATION)}")
            for step in range(self.dice.randrange(1, 5)):
                self.step(f"{label}/{step}", written)
            if self.dice.random() < 0.15:
                self.session.run("ROLLBACK")
                return
            committing = True
            self.session.run("COMMIT")
            self.committed |= written
        except psycopg2.Error as error:
            self.lost += 1
            killed = self.session.connection.closed != 0
            if killed and committing:
                self.unknown |= written
            elif not killed and error.pgcode not in EXPECTED:
                raise
            self.begin_anew()

    def begin_anew(self):
        try:
            self.session.run("ROLLBACK")
        except psycopg2.Error:
            self.session.close()
            self.session = self.login()

    def step(self, label, written):
        what = self.dice.random()
        if what < 0.55:
            self.entry(label)
            written.add(label)
        elif what < 0.70:
            self.session.run("SAVEPOINT attempt")
            self.entry(f"{label}/undone")
            self.session.run("ROLLBACK TO SAVEPOINT attempt")
        elif what < 0.85:
            row = self.dice.choice("ab")
            self.session.run("UPDATE services SET description = clock_timestamp()::text WHERE name = %s", row)
        elif what < 0.95:
            self.session.run("SELECT pg_sleep(%s)", self.dice.random() / 100)
        else:
            self.session.run("SELECT 1 / 0")

    def entry(self, label):
        self.session.run(
            "INSERT INTO audit_entries (actor, action, target_id, outcome) VALUES (%s, 'write', %s, 'success')",
            self.name,
            label,
        )


def disturb(field, database, dice, stop, heads):
    """Until it is told to stop: keep heads outside the database, and kill a writer now and then."""
    with contextlib.closing(field.login("superuser", database)) as admin:
        while not stop.wait(0.05):
            heads.append(head(admin))
            if dice.random() < 0.15:
                admin.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND usename = 'mission_control' ORDER BY random() LIMIT 1"
                )


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_writers(field, round_number):
    seed = attack_seed()
    database = field.copy()
    admin = database.session("admin")
    admin.run("INSERT INTO services (name) VALUES ('a'), ('b')")
    writers = [Writer(field, database, number, seed) for number in range(WRITERS)]
    stop, heads = threading.Event(), []
    disturber = threading.Thread(target=disturb, args=(field, database, random.Random(seed), stop, heads))
    for thread in (disturber, *writers):
        thread.start()
    for thread in writers:
        thread.join(timeout=600)
    stop.set()
    disturber.join(timeout=60)
    print(
        f"{sum(len(w.committed) for w in writers)} entries committed, {sum(w.lost for w in writers)} transactions lost"
    )
    assert [writer.failure for writer in writers if writer.failure] == []
    assert not any(thread.is_alive() for thread in (disturber, *writers))

    stored = set(admin.values("SELECT target_id FROM audit_entries WHERE action = 'write'"))
    committed = set().union(*(writer.committed for writer in writers))
    unknown = set().union(*(writer.unknown for writer in writers))
    assert committed, seed
    assert committed <= stored <= committed | unknown, seed
    links = admin.row(
        "SELECT count(*), count(DISTINCT entry_id) AS entries, min(sequence), max(sequence) FROM audit_links"
    )
    total = len(stored) + 10
    assert links == {"count": total, "entries": total, "min": 1, "max": total}, seed
    admin.run("BEGIN")
    for kept in (field.kept, *heads):
        assert found_inside(admin, kept) is None, (seed, kept)
    assert found_outside(admin, heads[-1]) is None, seed
    admin.run("ROLLBACK")
    database.drop()
