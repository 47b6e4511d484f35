"""Transactions and savepoints of the client."""

import threading

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectionLostError,
    ConstraintError,
    QueryError,
    SerializationError,
    TransactionError,
)


@pytest.fixture(scope="module")
def db(cluster):
    admin = cluster.connect()
    with admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE transactions")
    admin.close()
    with Client(host=cluster.socket_directory, port=cluster.port, database="transactions", user="postgres") as client:
        client.query("CREATE TABLE notes (id integer CONSTRAINT pk_notes PRIMARY KEY DEFERRABLE, text text)")
        yield client


@pytest.fixture(autouse=True)
def empty(db):
    db.query("TRUNCATE notes")
    yield
    stats = db.pool_stats()
    assert (stats.in_use, stats.waiting) == (0, 0)
    assert stats.rolled_back == 0, "a connection came back in a transaction"


def ids(db):
    return [row["id"] for row in db.query_many("SELECT id FROM notes ORDER BY id")]


def add(session, number):
    session.query("INSERT INTO notes (id) VALUES (%s)", [number])


def test_the_end_of_the_block_commits(db):
    with db.transaction() as transaction:
        add(transaction, 1)
        assert ids(db) == []
        assert ids(transaction) == [1]
    assert ids(db) == [1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_error_rolls_back(db, error):
    with pytest.raises(error), db.transaction() as transaction:
        add(transaction, 1)
        raise error
    assert ids(db) == []


def test_a_refused_statement_rolls_back(db):
    with pytest.raises(ConstraintError), db.transaction() as transaction:
        add(transaction, 1)
        add(transaction, 1)
    assert ids(db) == []


def test_a_swallowed_error_does_not_look_like_success(db):
    with pytest.raises(TransactionError, match="had failed, so it was rolled back"), db.transaction() as transaction:
        add(transaction, 1)
        with pytest.raises(QueryError):
            transaction.query("SELECT 1 / 0")
    assert ids(db) == []


def test_a_commit_that_is_refused_is_told(db):
    with pytest.raises(ConstraintError, match="pk_notes"), db.transaction() as transaction:
        transaction.query("SET CONSTRAINTS ALL DEFERRED")
        add(transaction, 1)
        add(transaction, 1)
    assert ids(db) == []


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_a_transaction_is_not_ended_by_a_query(db, statement):
    with pytest.raises(TransactionError, match="had ended it"), db.transaction() as transaction:
        add(transaction, 1)
        transaction.query(statement)


def test_nested_transactions_are_undone_by_themselves(db):
    with db.transaction() as outer:
        add(outer, 1)
        with pytest.raises(ConstraintError), outer.transaction() as inner:
            add(inner, 2)
            add(inner, 1)
        with outer.transaction() as inner:
            add(inner, 3)
            with pytest.raises(ValueError, match="no"), inner.transaction() as innermost:
                add(innermost, 4)
                raise ValueError("no")
            with inner.transaction() as innermost:
                add(innermost, 5)
        with pytest.raises(TransactionError, match="rolled back although"), outer.transaction() as inner:
            add(inner, 6)
            with pytest.raises(QueryError):
                inner.query("SELECT 1 / 0")
    assert ids(db) == [1, 3, 5]


def test_isolation_and_read_only(db):
    with db.transaction(isolation="repeatable read", read_only=True) as transaction:
        assert transaction.query_one("SHOW transaction_isolation") == {"transaction_isolation": "repeatable read"}
        assert ids(transaction) == []
        add(db, 1)
        assert ids(transaction) == []
    with pytest.raises(QueryError, match="SQLSTATE 25006"), db.transaction(read_only=True) as transaction:
        add(transaction, 2)
    with db.transaction("serializable", read_only=True, deferrable=True) as transaction:
        assert transaction.query_one("SHOW transaction_deferrable") == {"transaction_deferrable": "on"}
    with db.transaction() as transaction:
        assert transaction.query_one("SHOW transaction_isolation") == {"transaction_isolation": "read committed"}
    with pytest.raises(TransactionError, match="isolation level must be one of"):
        db.transaction(isolation="serialisable")
    with pytest.raises(TransactionError, match="deferrable only if"):
        db.transaction(deferrable=True)


def test_a_lost_race_is_named(db):
    db.query("INSERT INTO notes VALUES (1, 'a')")
    with pytest.raises(SerializationError) as error, db.transaction("repeatable read") as transaction:
        ids(transaction)
        db.query("UPDATE notes SET text = 'b'")
        transaction.query("UPDATE notes SET text = 'c'")
    assert error.value.sqlstate == "40001"


def test_a_deadlock_hits_one_and_spares_the_other(db):
    db.query("INSERT INTO notes VALUES (1, ''), (2, '')")
    barrier = threading.Barrier(2)
    outcomes = []

    def work(first, second):
        try:
            with db.transaction() as transaction:
                transaction.query("SET LOCAL deadlock_timeout = '10ms'")
                transaction.query("UPDATE notes SET text = text || %s WHERE id = %s", ["x", first])
                barrier.wait(30)
                transaction.query("UPDATE notes SET text = text || %s WHERE id = %s", ["x", second])
            outcomes.append("committed")
        except SerializationError as error:
            outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=work, args=order) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["40P01", "committed"]
    assert [row["text"] for row in db.query_many("SELECT text FROM notes")] == ["x", "x"]


def test_a_transaction_is_open_in_its_block_only(db):
    transaction = db.transaction()
    with pytest.raises(TransactionError, match="not open"):
        transaction.query("SELECT 1")
    with transaction:
        with pytest.raises(TransactionError, match="begun already"):
            transaction.__enter__()
        assert "open" in repr(transaction)
    with pytest.raises(TransactionError, match="not open"):
        transaction.query("SELECT 1")
    with transaction:
        add(transaction, 1)
    assert ids(db) == [1]


def terminate(db, transaction):
    pid = transaction.query_one("SELECT pg_backend_pid() AS pid")["pid"]
    db.query("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_loss_within_a_transaction_undoes_it(db):
    with pytest.raises(ConnectionLostError) as error, db.transaction() as transaction:
        add(transaction, 1)
        terminate(db, transaction)
        add(transaction, 2)
    assert not error.value.in_commit
    assert ids(db) == []


def test_a_loss_at_commit_says_that_nobody_knows(db):
    with pytest.raises(ConnectionLostError, match="is not known") as error, db.transaction() as transaction:
        add(transaction, 1)
        terminate(db, transaction)
    assert error.value.in_commit


def test_the_callers_error_is_not_hidden_by_a_lost_connection(db):
    with pytest.raises(ValueError, match="mine"), db.transaction() as transaction:
        terminate(db, transaction)
        raise ValueError("mine")
