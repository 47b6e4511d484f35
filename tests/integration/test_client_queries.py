"""Queries of the client against a server: what goes in, what comes out, and what is said when it fails."""

import dataclasses
import datetime
import decimal
import enum
import logging
import math
import uuid

import psycopg2
import psycopg2.extras
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database.driver import Json
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    ConstraintError,
    LockTimeoutError,
    MissionControlError,
    ParameterError,
    QueryError,
    ResultError,
    RowCountError,
    StatementCanceledError,
    TransactionError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECRET_VALUE = "a value of a row"


@pytest.fixture(scope="module")
def db(shared_database):
    cluster = shared_database.cluster
    with Client(
        host=cluster.socket_directory, port=cluster.port, database=shared_database.name, user="mission_control"
    ) as client:
        yield client


@dataclasses.dataclass
class NameAndStatus:
    name: str
    status: str
    note: str = "none"


def test_the_examples_of_the_seed(db):
    db.query(
        "INSERT INTO hosts (name, type, status) VALUES (%s, %s, %s), (%s, %s, %s)",
        ["pve1", "proxmox-node", "online", "nas", "bare-metal", "offline"],
    )
    hosts = db.query_many("SELECT * FROM hosts WHERE status = %s", ["online"])
    assert [host["name"] for host in hosts] == ["pve1"]

    result = db.query(
        "INSERT INTO tasks (title, created_by, is_template) VALUES (%s, %s, %s) RETURNING *",
        ["Restart Plex", "system", False],
    )
    task = result.rows[0]
    assert (task["title"], task["is_template"], result.row_count) == ("Restart Plex", False, 1)

    with db.transaction() as client:
        task = client.query(
            "INSERT INTO tasks (title, created_by) VALUES (%s, %s) RETURNING *", ["Deploy blog-api", "system"]
        )
        run = client.query(
            "INSERT INTO task_runs (task_id, user_prompt, status) VALUES (%s, %s, %s) RETURNING *",
            [task.rows[0]["id"], "Deploy blog-api to production", "queued"],
        )
    active = db.query_many("SELECT * FROM active_task_runs ORDER BY created_at DESC LIMIT 10")
    assert run.rows[0]["id"] in [row["id"] for row in active]
    assert db.query_many("SELECT * FROM recent_token_usage_summary ORDER BY total_cost_usd DESC") == []
    assert db.query_many("SELECT * FROM tool_call_success_rate WHERE total_calls > 0") == []
    assert db.query_one("SELECT * FROM workloads WHERE id = %s", [uuid.uuid4()]) is None


def test_a_result_has_rows_count_and_columns(db):
    result = db.query("SELECT n, n * 2 AS double FROM generate_series(1, 3) AS n")
    assert list(result) == result.rows == [{"n": 1, "double": 2}, {"n": 2, "double": 4}, {"n": 3, "double": 6}]
    assert (result.row_count, len(result), result.columns) == (3, 3, ("n", "double"))
    assert "2" not in repr(db.query("SELECT 2 AS n")).replace("row_count", "")
    nothing = db.query("UPDATE hosts SET os = 'x' WHERE false")
    assert (nothing.rows, nothing.row_count, nothing.columns) == ([], 0, ())


def test_two_columns_of_one_name_are_refused(db):
    for sql in ("SELECT 1 AS a, 2 AS b, 3 AS a", "SELECT 1 AS a, 2 AS b, 3 AS a WHERE false"):
        for more in ({}, {"model": dict}):
            with pytest.raises(
                RowCountError, match="The result has several columns named a: give each a name of its own with AS"
            ):
                db.query(sql, **more)
        with pytest.raises(RowCountError, match="named a"), db.stream(sql) as rows:
            list(rows)
    assert db.pool_stats().in_use == 0


BEYOND_PYTHON = [
    "'0044-03-15 BC'::date",
    "'10000-01-01'::date",
    "'infinity'::date",
    "'-infinity'::date",
    "'0044-03-15 12:00 BC'::timestamp",
    "'infinity'::timestamp",
    "'10000-01-01 00:00+00'::timestamptz",
    "'-infinity'::timestamptz",
    "'24:00'::time",
    "'24:00+02'::timetz",
    "'170000000 years'::interval",
    "ARRAY[now()::date, 'infinity'::date]",
    "ARRAY[[now()], ['0044-03-15 BC'::timestamptz]]",
    "daterange('2026-01-01', 'infinity')",
    "tstzrange('0044-03-15 BC', now())",
    "(repeat('9', 5000))::json",
]


@pytest.mark.parametrize("value", BEYOND_PYTHON)
def test_a_value_that_python_has_no_form_for_is_an_error_that_names_its_column(db, value):
    sql = f"SELECT n, now() AS fine, CASE WHEN n > 2 THEN {value} END AS born, NULL::date AS none FROM generate_series(1, 4) AS n"
    expected = r"^The column born holds a value that Python has no form for, .* \(born::text\)\.$"
    with pytest.raises(ResultError, match=expected) as error:
        db.query(sql)
    assert isinstance(error.value, ValueError)
    assert error.value.__context__ is None
    with pytest.raises(ResultError, match=expected), db.stream(sql, batch=2) as rows:
        list(rows)
    with pytest.raises(ResultError, match="The column Born on "), db.transaction() as transaction:
        transaction.query(f'SELECT {value} AS "Born on"')
    assert len(db.query_many(sql.replace(" AS born", "::text AS born"))) == 4
    assert db.pool_stats().in_use == 0


def test_dates_and_times_are_what_psycopg2_makes_of_them(db, shared_database):
    sql = """SELECT d::date AS date, d::timestamp AS naive, d AS aware, d::time AS time, d::timetz AS timetz, d - '2001-02-03'::timestamptz AS span,
        ARRAY[d, d + '1 hour'] AS many, daterange(d::date, NULL) AS range
        FROM unnest(ARRAY['0001-01-01 00:00:00+00', '1883-11-18 12:03:57.5+00', '2026-11-26 01:02:03.000004+00',
            '9999-12-30 23:59:59.999+00']::timestamptz[]) AS d"""
    for zone in ("UTC", "Europe/Amsterdam", "Asia/Kolkata"):
        with (
            db.transaction() as transaction,
            shared_database.cluster.connect() as connection,
            connection.cursor() as cursor,
        ):
            transaction.query("SELECT set_config('timezone', %s, true)", [zone])
            cursor.execute("SELECT set_config('timezone', %s, false)", [zone])
            cursor.execute(sql)
            rows = [tuple(row.values()) for row in transaction.query_many(sql)]
            assert rows == cursor.fetchall()


def test_one_row_none_or_an_error(db):
    assert db.query_one("SELECT 1 AS n") == {"n": 1}
    assert db.query_one("SELECT 1 WHERE false") is None
    with pytest.raises(RowCountError, match="2 rows"):
        db.query_one("SELECT generate_series(1, 2)")


def test_rows_as_objects_of_a_model(db):
    sql = "SELECT 'a' AS name, 'online' AS status, 5 AS added_later"
    assert db.query_one(sql, model=NameAndStatus) == NameAndStatus("a", "online")
    assert db.query_many(sql, model=NameAndStatus) == [NameAndStatus("a", "online")]
    assert db.query("SELECT 1 AS a", model=dict).rows == [{"a": 1}]
    with pytest.raises(TypeError, match="status"):
        db.query_many("SELECT 'a' AS name", model=NameAndStatus)
    with db.stream(sql, model=NameAndStatus) as rows:
        assert list(rows) == [NameAndStatus("a", "online")]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    # jsonb keeps decimal digits: beyond 15 of them a float becomes another whole number.
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
parameters = st.one_of(
    st.tuples(st.just("text"), texts),
    st.tuples(st.just("bigint"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("boolean"), st.booleans()),
    st.tuples(st.just("double precision"), st.floats(allow_nan=False)),
    st.tuples(st.just("numeric"), st.decimals(allow_nan=False, allow_infinity=False, places=12)),
    st.tuples(st.just("bytea"), st.binary()),
    st.tuples(st.just("uuid"), st.uuids()),
    st.tuples(st.just("date"), st.dates()),
    st.tuples(
        st.just("timestamptz"),
        # The zones of a result are whole minutes from UTC: the year 2 leaves room for them.
        st.datetimes(
            datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.just(datetime.timezone.utc)
        ),
    ),
    st.tuples(st.just("text[]"), st.lists(texts)),
    st.tuples(st.just("bigint[]"), st.lists(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just("uuid[]"), st.lists(st.uuids())),
    st.tuples(st.just("bytea[]"), st.lists(st.binary())),
    st.tuples(st.just("jsonb"), st.dictionaries(texts, json_values, max_size=5)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(parameters, min_size=1, max_size=6))
def test_parameters_come_back_as_they_were(db, items):
    # Not with ::, which binds closer than the minus of a negative number: the least bigint would be refused.
    columns = ", ".join(f"CAST(%s AS {kind}) AS c{number}" for number, (kind, _) in enumerate(items))
    row = db.query_one(f"SELECT {columns}", [value for _, value in items])
    assert list(row.values()) == [value for _, value in items]
    named = ", ".join(f"CAST(%(p{number})s AS {kind}) AS c{number}" for number, (kind, _) in enumerate(items))
    assert db.query_one(f"SELECT {named}", {f"p{n}": value for n, (_, value) in enumerate(items)}) == row


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
def test_json_comes_back_as_it_was(db, value):
    assert db.query_one("SELECT %s::jsonb AS j, %s::json AS k", [Json(value), Json(value)]) == {"j": value, "k": value}


class Status(enum.Enum):
    ONLINE = "online"


def test_further_parameters(db):
    assert db.query_one("SELECT 5 IN %s AS found", [(4, 5)]) == {"found": True}
    assert db.query_one("SELECT 5 = ANY(%s) AS found", [[4, 5]]) == {"found": True}
    assert db.query_one("SELECT %s AS status", [Status.ONLINE]) == {"status": "online"}
    assert db.query_one("SELECT %s::float8 AS f", [math.inf]) == {"f": math.inf}
    moment = datetime.datetime(2026, 2, 6, 12, tzinfo=datetime.timezone.utc)
    document = {"at": moment, "id": uuid.UUID(int=1), "cost": decimal.Decimal("0.1"), "status": Status.ONLINE}
    assert db.query_one("SELECT %s::jsonb AS j", [document])["j"] == {
        "at": "2026-02-06T12:00:00+00:00",
        "id": str(uuid.UUID(int=1)),
        "cost": "0.1",
        "status": "online",
    }
    assert db.query_one("SELECT '50%' AS share") == {"share": "50%"}
    assert db.query_one("SELECT %s || '%%' AS share", ["50"]) == {"share": "50%"}


@pytest.mark.parametrize(
    ("sql", "given_parameters", "sentence"),
    [
        (
            "SELECT %s",
            [SECRET_VALUE, SECRET_VALUE],
            "their number differs from that of the placeholders, 2 values for 1 %s",
        ),
        ("SELECT %s, %s", [SECRET_VALUE], "their number differs from that of the placeholders, 1 value for 2 %s"),
        ("SELECT '50%%', %s", [1, 2], "2 values for 1 %s"),
        ("SELECT $1", [SECRET_VALUE], r"1 value for 0 %s; placeholders are written %s here, not \$1"),
        ("SELECT name FROM hosts WHERE name = ?", [SECRET_VALUE], r"placeholders are written %s here, not \?"),
        ("SELECT 1::text, :name", [SECRET_VALUE], "placeholders are written %s here, not :name"),
        ("SELECT %s, '50%'", [SECRET_VALUE], r"a % that begins no placeholder is to be doubled \(%%\)"),
        ("SELECT %(a)s", [SECRET_VALUE], r"named placeholders such as %\(a\)s need a mapping"),
        ("SELECT %s", {"a": SECRET_VALUE}, "a mapping needs named placeholders"),
        ("SELECT %(a)s", {"b": SECRET_VALUE}, "placeholder 'a' has no value"),
        ("SELECT %s", SECRET_VALUE, "not a str"),
        ("SELECT %s", [SECRET_VALUE + "\0"], "NUL"),
        ("SELECT %s", [SECRET_VALUE + "\udc80"], "UTF-8 cannot hold"),
        ("SELECT %s", [{"a": math.nan}], "NaN"),
        ("SELECT %s", [{"a": {SECRET_VALUE}}], "a set has no form in JSON"),
        ("SELECT %s", [object()], "can't adapt type 'object'"),
        ("SELECT '%d'", [1], "fit the statement"),
        (5, None, "must be a str"),
    ],
)
def test_wrong_parameters_are_described_without_their_values(db, sql, given_parameters, sentence):
    with pytest.raises(ParameterError, match=sentence) as error:
        db.query(sql, given_parameters)
    assert SECRET_VALUE not in str(error.value)
    assert error.value.__context__ is None
    assert db.query_one("SELECT 1 AS n") == {"n": 1}


def test_a_refused_statement_has_the_servers_reasons(db):
    with pytest.raises(ConstraintError) as error:
        db.query("INSERT INTO hosts (name, type) VALUES (%s, %s)", ["x", "toaster"])
    assert (error.value.sqlstate, error.value.constraint, error.value.table) == ("23514", "ck_hosts_type", "hosts")
    assert str(error.value).endswith("(SQLSTATE 23514, constraint ck_hosts_type)")
    assert "toaster" in error.value.detail
    assert error.value.sql == "INSERT INTO hosts (name, type) VALUES (%s, %s)"
    assert error.value.__context__ is None
    assert str(error.value).startswith('new row for relation "hosts" violates')
    assert ". Failing row contains (" in str(error.value)
    with pytest.raises(
        QueryError, match=r"does not exist\. Perhaps you meant to reference .*hosts\.name.* \(SQLSTATE 42703\)$"
    ):
        db.query("SELECT nme FROM hosts")
    with pytest.raises(
        QueryError, match=r"there is no parameter \$1\. Placeholders are written %s, .* \(SQLSTATE 42P02\)$"
    ):
        db.query("SELECT $1")
    with pytest.raises(QueryError, match="SQLSTATE 42P01") as error:
        db.query("SELECT * FROM nothing")
    assert type(error.value) is QueryError
    with pytest.raises(QueryError, match="SQLSTATE 42501"):
        db.query("DROP TABLE hosts")


def test_a_statement_must_not_leave_a_transaction_open(db):
    with pytest.raises(TransactionError, match="left a transaction open"):
        db.query("BEGIN; INSERT INTO services (name) VALUES ('left open')")
    assert db.query_many("SELECT 1 FROM services WHERE name = 'left open'") == []
    assert db.pool_stats().rolled_back == 0


def test_many_rows_are_written_at_once_or_not_at_all(db):
    rows = [(f"bulk {number}", {"n": number}) for number in range(2500)]
    sql = "INSERT INTO services (name, metadata) VALUES (%s, %s)"
    assert db.execute_many(sql, rows) == 2500
    assert (
        db.execute_many(f"{sql} ON CONFLICT (name) WHERE external_id IS NULL DO NOTHING", [*rows, ("bulk new", {})])
        == 1
    )
    stored = db.query_many("SELECT name, metadata FROM services WHERE name ~ '^bulk [0-9]'")
    assert {row["name"]: row["metadata"] for row in stored} == dict(rows)
    with pytest.raises(ConstraintError):
        db.execute_many(sql, [(f"half {number}", {}) for number in range(1500)] + [("bulk 1", {})])
    assert db.query_many("SELECT 1 FROM services WHERE name LIKE 'half%'") == []
    assert (
        db.execute_many(
            "UPDATE services SET owner = %(owner)s WHERE name = %(name)s",
            [{"name": f"bulk {n}", "owner": "me"} for n in range(3)] + [{"name": "nobody", "owner": "me"}],
        )
        == 3
    )
    named = "INSERT INTO services (name) VALUES (%(name)s)"
    assert db.execute_many(named, ({"name": f"named {n}"} for n in range(3))) == 3
    assert db.execute_many(sql, []) == 0


def test_a_large_result_is_streamed(db):
    sql = "SELECT n FROM generate_series(1, %s) AS n"
    with db.stream(sql, [5000], batch=1000) as rows:
        assert next(rows) == {"n": 1}
        assert sum(row["n"] for row in rows) == 5000 * 5001 // 2 - 1
    with db.stream(sql, [5000], batch=10) as rows:
        next(rows)
    with (
        pytest.raises(QueryError, match="division by zero"),
        db.stream("SELECT 1 / (3 - n) FROM generate_series(1, 5) n") as rows,
    ):
        list(rows)
    with db.transaction() as transaction:
        with transaction.stream(sql, [10], batch=3) as outer, transaction.stream(sql, [2]) as inner:
            assert [next(outer)["n"], next(inner)["n"], next(outer)["n"]] == [1, 1, 2]
        with pytest.raises(TransactionError, match="within its with block"):
            next(left_over(db, sql))
    assert db.pool_stats().in_use == 0
    with pytest.raises(ValueError, match="1 row or more"), db.stream(sql, [1], batch=0):
        pass


def left_over(db, sql):
    with db.stream(sql, [5]) as rows:
        pass
    return rows


def client_for(shared_database, **options):
    cluster = shared_database.cluster
    options = {"user": "mission_control", "database": shared_database.name, **options}
    return Client(host=cluster.socket_directory, port=cluster.port, **options)


def test_every_time_out_of_a_session(shared_database):
    with client_for(shared_database, statement_timeout=0.05, lock_timeout=0.02) as impatient:
        with pytest.raises(StatementCanceledError, match="SQLSTATE 57014"):
            impatient.query("SELECT pg_sleep(10)")
        admin = shared_database.session("admin")
        with admin.transaction():
            admin.run("LOCK TABLE hosts")
            with pytest.raises(LockTimeoutError, match="SQLSTATE 55P03"):
                impatient.query("SELECT * FROM hosts")
        assert impatient.query_one("SHOW idle_in_transaction_session_timeout") == {
            "idle_in_transaction_session_timeout": "0"
        }
        admin.close()
    with client_for(shared_database, idle_in_transaction_timeout=7, application_name="test of names") as named:
        assert named.query_one("SHOW idle_in_transaction_session_timeout") == {
            "idle_in_transaction_session_timeout": "7s"
        }
        assert named.query_one("SHOW application_name") == {"application_name": "test of names"}


def test_health_is_honest(shared_database):
    client = client_for(shared_database)
    health = client.health()
    assert health.connected
    assert health.error is None
    assert health.latency_ms > 0
    assert health.as_dict()["pool"]["total"] == 1
    client.disconnect()
    health = client.health()
    assert (health.connected, health.latency_ms, health.pool.total) == (False, None, 0)
    assert "disconnected" in health.error
    missing = client_for(shared_database, database="missing")
    health = missing.health()
    assert not health.connected
    assert "missing" in health.error
    with pytest.raises(ConnectError, match="database missing on "):
        missing.connect()
    with client_for(shared_database, pool_size=1) as busy, busy.transaction():
        assert "No connection within 0.05 s: total 1 of at most 1" in busy.health(timeout=0.05).error


def test_other_users_of_psycopg2_are_left_alone(db, shared_database):
    """Types and adapters are registered for the client's connections only."""
    db.query("SELECT 1")
    connection = shared_database.cluster.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT '\\x00'::bytea, %s", (str(uuid.UUID(int=0)),))
        assert isinstance(cursor.fetchone()[0], memoryview)
        with pytest.raises(psycopg2.ProgrammingError, match="can't adapt type 'UUID'"):
            cursor.execute("SELECT %s", (uuid.UUID(int=0),))
    connection.close()


def test_statements_are_logged_without_parameters(db, shared_database, caplog):
    caplog.set_level(logging.DEBUG, logger="mission_control")
    db.query("SELECT %s AS n, generate_series(1, 2)", [SECRET_VALUE])
    with pytest.raises(MissionControlError):
        db.query("SELECT %s::integer", [SECRET_VALUE])
    db.execute_many("INSERT INTO services (name) VALUES (%s)", [(SECRET_VALUE,)])
    levels = {record.levelno for record in caplog.records}
    assert levels == {logging.DEBUG}
    assert " ms, 2 rows: SELECT %s AS n, generate_series(1, 2)" in caplog.text
    assert "(22P02): SELECT %s::integer" in caplog.text
    assert " 1 rows: INSERT INTO services (name) VALUES (%s)" in caplog.text
    assert SECRET_VALUE not in caplog.text
    caplog.clear()
    caplog.set_level(logging.WARNING, logger="mission_control")
    with client_for(shared_database, slow_query=0.01) as slow:
        slow.query("SELECT 1")
        slow.query("SELECT pg_sleep(%s)", [0.02])
    assert [record.levelname for record in caplog.records if "pg_sleep" in record.getMessage()] == ["WARNING"]
    assert "0.02" not in caplog.text
    caplog.clear()
    with client_for(shared_database, slow_query=float("inf")) as quiet:
        quiet.query("SELECT pg_sleep(0.02)")
    assert caplog.text == ""
