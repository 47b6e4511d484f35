"""Which statements of the module query count as a change: what was written, not which words were used."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import Settings
from ansible_collections.homelab.mission_control.plugins.module_utils.query.changes import WrittenRows
from ansible_collections.homelab.mission_control.plugins.module_utils.query.statements import (
    Statement,
    StatementError,
    run_statements,
)

PREPARE = """
CREATE TABLE plain (id integer PRIMARY KEY, note text);
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE);
CREATE TABLE parted (at integer, note text) PARTITION BY RANGE (at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM plain;
CREATE SEQUENCE free;
CREATE ROLE changed_reader;
CREATE ROLE changed_member;
INSERT INTO plain VALUES (1, 'one');
INSERT INTO numbered (name) VALUES ('one');
INSERT INTO parted VALUES (1, 'one');
CREATE FUNCTION write_one() RETURNS void LANGUAGE sql AS 'INSERT INTO plain VALUES (99)';
CREATE FUNCTION read_one() RETURNS text LANGUAGE sql AS 'SELECT note FROM plain WHERE id = 1';
CREATE FUNCTION set_number() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM setval('free', 7); END$$;
CREATE PROCEDURE write_two() LANGUAGE sql AS 'INSERT INTO plain VALUES (98)';
CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE closed (id integer);
CREATE TRIGGER tr_closed BEFORE INSERT ON closed FOR EACH ROW EXECUTE FUNCTION keep_out();
SELECT lo_create(4242);
"""
CLEAN = "DROP ROLE changed_reader; DROP ROLE changed_member; SELECT lo_unlink(4242);"

CHANGES = [
    "INSERT INTO plain VALUES (2, 'two')",
    "UPDATE plain SET note = 'other' WHERE id = 1",
    "DELETE FROM plain",
    "WITH new AS (INSERT INTO plain VALUES (3) RETURNING id) SELECT id FROM new",
    "SELECT write_one()",
    "CALL write_two()",
    "DO $$ BEGIN INSERT INTO plain VALUES (4); END $$",
    "MERGE INTO plain AS p USING (VALUES (1)) AS v (id) ON p.id = v.id WHEN MATCHED THEN UPDATE SET note = 'merged'",
    "TRUNCATE plain",
    "TRUNCATE numbered RESTART IDENTITY",
    "INSERT INTO parted VALUES (2, 'two')",
    "UPDATE parted SET note = 'other'",
    "INSERT INTO numbered (name) VALUES ('two') ON CONFLICT DO NOTHING",
    "SELECT setval('numbered_id_seq', 40)",
    "SELECT set_number()",
    "SELECT nextval('free')",
    "ALTER SEQUENCE free RESTART WITH 5",
    "CREATE TABLE fresh (id integer)",
    "CREATE TABLE IF NOT EXISTS fresh AS SELECT 1 AS one",
    "DROP TABLE plain CASCADE",
    "ALTER TABLE plain ADD COLUMN more text",
    "CREATE INDEX ON plain (note)",
    "CREATE OR REPLACE FUNCTION read_one() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    "REFRESH MATERIALIZED VIEW summary",
    "GRANT SELECT ON plain TO changed_reader",
    "GRANT changed_reader TO changed_member",
    "CREATE ROLE changed_third",
    "ALTER ROLE changed_reader CONNECTION LIMIT 3",
    "ALTER ROLE changed_reader SET statement_timeout = '3s'",
    "COMMENT ON TABLE plain IS 'said'",
    "COMMENT ON ROLE changed_reader IS 'said'",
    "SELECT lo_from_bytea(0, 'large')",
    "SELECT lo_put(4242, 0, 'large')",
    "SELECT lo_unlink(4242)",
    "ALTER DATABASE {database} SET work_mem = '5MB'",
]
NO_CHANGES = [
    "SELECT * FROM plain",
    "SELECT read_one()",
    "SELECT * FROM plain FOR UPDATE",
    "SELECT pg_advisory_xact_lock(1)",
    "LOCK TABLE plain IN ACCESS EXCLUSIVE MODE",
    "INSERT INTO plain VALUES (1, 'again') ON CONFLICT DO NOTHING",
    "INSERT INTO numbered (name) VALUES ('one') ON CONFLICT DO NOTHING",
    "INSERT INTO plain SELECT 5 WHERE false",
    "INSERT INTO closed VALUES (1)",
    "INSERT INTO parted SELECT 5 WHERE false",
    "UPDATE plain SET note = 'other' WHERE false",
    "DELETE FROM plain WHERE id = 77",
    "MERGE INTO plain AS p USING (VALUES (77)) AS v (id) ON p.id = v.id WHEN MATCHED THEN DELETE",
    "CREATE TABLE IF NOT EXISTS plain (id integer)",
    "CREATE INDEX IF NOT EXISTS plain_pkey ON plain (id)",
    "DROP TABLE IF EXISTS not_there",
    "DO $$ BEGIN PERFORM 1; END $$",
    "SET LOCAL work_mem = '5MB'",
    "SHOW work_mem",
    "EXPLAIN DELETE FROM plain",
    "VALUES (1)",
]


@pytest.fixture(scope="module")
def prepared(shared_database):
    session = shared_database.session("admin")
    session.run(PREPARE)
    yield shared_database
    session.run(CLEAN)


@pytest.fixture
def settings(prepared):
    return Settings(
        host=prepared.cluster.socket_directory, port=prepared.cluster.port, database=prepared.name, user="postgres"
    )


def would_change(settings, *texts, **options):
    return run_statements(settings, [Statement(text) for text in texts], keep=False, **options).changed


@pytest.fixture
def known(prepared):
    """A function that says whether the server knows a statement; MERGE is there from 15 on."""
    return lambda text: not text.startswith("MERGE") or prepared.session("admin").connection.server_version >= 150000


@pytest.mark.parametrize("text", CHANGES)
def test_what_writes_is_a_change(settings, known, text):
    if known(text):
        assert would_change(settings, text.format(database=settings.database))
    else:
        with pytest.raises(StatementError, match="SQLSTATE 42601"):
            would_change(settings, text)


@pytest.mark.parametrize("text", NO_CHANGES)
def test_what_writes_nothing_is_none(settings, known, text):
    if known(text):
        assert not would_change(settings, text)
    else:
        with pytest.raises(StatementError, match="SQLSTATE 42601"):
            would_change(settings, text)


def test_rows_of_temporary_tables_do_not_count(settings):
    with Client(settings=dataclasses.replace(settings, pool_size=1)) as client:
        client.query("CREATE TEMPORARY TABLE mine (id integer)")
        with client.transaction() as transaction:
            written = WrittenRows(transaction)
            transaction.query("INSERT INTO mine VALUES (1)")
            assert not written.since_then(["INSERT INTO mine VALUES (1)"])


def test_a_dry_run_leaves_nothing_and_a_run_does(settings, prepared):
    admin = prepared.session("admin")
    insert = [Statement("INSERT INTO plain VALUES (%s, %s)", [50, "kept"])]
    assert run_statements(settings, insert, keep=False).changed
    assert admin.value("SELECT count(*) FROM plain WHERE id = 50") == 0
    assert run_statements(settings, insert).changed
    assert admin.value("SELECT count(*) FROM plain WHERE id = 50") == 1


def test_statements_of_a_list_count_together(settings):
    assert would_change(settings, "SELECT 1", "INSERT INTO plain VALUES (60)", "SELECT 2")
    assert would_change(
        settings,
        "INSERT INTO numbered (name) VALUES ('one') ON CONFLICT DO NOTHING",
        "SELECT setval('numbered_id_seq', 40)",
    )


def test_a_server_that_does_not_count_tells_by_the_transactions_number(settings):
    uncounted = dataclasses.replace(settings, options="-c track_counts=off")
    assert would_change(uncounted, "INSERT INTO plain VALUES (61)")
    assert would_change(uncounted, "SELECT * FROM plain FOR UPDATE")
    assert not would_change(uncounted, "SELECT * FROM plain")
    assert not would_change(uncounted, "UPDATE plain SET note = 'other' WHERE false")


def test_a_foreign_table_that_is_written_to_counts(settings, prepared):
    admin = prepared.session("admin")
    if not admin.values("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        raise AssertionError("the server programs have no postgres_fdw: install the whole package postgresql")
    admin.run(
        f"""
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw
          OPTIONS (host '{settings.host}', port '{settings.port}', dbname '{settings.database}');
        CREATE USER MAPPING FOR postgres SERVER itself OPTIONS (user 'postgres', password_required 'false');
        CREATE FOREIGN TABLE afar (id integer, note text) SERVER itself OPTIONS (table_name 'plain');
        """
    )
    assert would_change(settings, "INSERT INTO afar VALUES (70, 'afar')")
    assert not would_change(settings, "SELECT * FROM afar")


def test_the_schemas_own_functions_are_seen_through(settings, prepared):
    """The application's audit log and the functions that fill prices, by a login without any privilege on catalogues."""
    application = dataclasses.replace(settings, user="mission_control")
    assert would_change(
        application, "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'test', 'success')"
    )
    assert not would_change(application, "SELECT fill_unpriced_token_usage()")


def test_a_read_only_transaction_refuses_to_write(settings):
    with pytest.raises(Exception, match=r"read-only transaction \(SQLSTATE 25006\)"):
        would_change(settings, "INSERT INTO plain VALUES (62)", read_only=True)
    assert not would_change(settings, "SELECT * FROM plain", read_only=True)
