"""Rows of the module query against a real server: nothing is lost, and everything is JSON."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import json
import math
from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import Settings
from ansible_collections.homelab.mission_control.plugins.module_utils.query.statements import (
    Statement,
    StatementError,
    StatementTextError,
    run_statements,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

# The database stays the same for all examples.
examples = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture(scope="module")
def place(shared_database):
    return Settings(
        host=shared_database.cluster.socket_directory,
        port=shared_database.cluster.port,
        database=shared_database.name,
        user="postgres",
    )


def rows(place, sql, parameters=None, **options):
    [result] = run_statements(place, [Statement(sql, parameters)], **options).results
    return json.loads(json.dumps(result.rows, allow_nan=False))


def value(place, sql, *parameters):
    [row] = rows(place, f"SELECT {sql} AS value", list(parameters) or None)
    return row["value"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("true", True),
        ("NULL", None),
        ("9223372036854775807", 9223372036854775807),
        ("1.50::numeric", "1.50"),
        ("'123456789012345678901234567890.0987654321'::numeric", "123456789012345678901234567890.0987654321"),
        ("'NaN'::numeric", "NaN"),
        ("'Infinity'::float8", "Infinity"),
        ("0.1::float8", 0.1),
        ("0.1::float4", 0.1),
        ("'6F1F9A63-3F1C-4A39-8B8E-0A4C1F6F3D55'::uuid", "6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55"),
        ("'192.0.2.1/24'::inet", "192.0.2.1/24"),
        ("'192.0.2.0/24'::cidr", "192.0.2.0/24"),
        ("'2026-02-06 07:08:09.5+02'::timestamptz", "2026-02-06T05:08:09.5+00:00"),
        ("'2026-02-06 07:08:09'::timestamp", "2026-02-06T07:08:09"),
        ("'2026-02-06'::date", "2026-02-06"),
        ("'infinity'::timestamptz", "infinity"),
        ("'12026-02-06'::date", "12026-02-06"),
        ("'12026-02-06'::timestamptz", "12026-02-06T00:00:00+00:00"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC"),
        ("'07:08'::time", "07:08:00"),
        ("'07:08+02'::timetz", "07:08:00+02:00"),
        ("interval '1 year -2 days 3 hours'", "P1Y-2DT3H"),
        ("'\\x00ff'::bytea", base64.b64encode(b"\0\xff").decode()),
        ("int4range(1, 5)", "[1,5)"),
        ("'{\"a\": [1, 2.50, null]}'::jsonb", {"a": [1, 2.5, None]}),
        ("'[0.12345678901234567891]'::jsonb", ["0.12345678901234567891"]),
        ("ARRAY[1, NULL, 3]", [1, None, 3]),
        ("ARRAY[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("'[0:1]={7,8}'::int[]", [7, 8]),
        ("'{}'::text[]", []),
        ("ARRAY['192.0.2.1'::inet]", ["192.0.2.1"]),
        ("ARRAY['2026-02-06'::timestamptz]", ["2026-02-06T00:00:00+00:00"]),
        ("ARRAY['{\"a\": 1}'::jsonb]", [{"a": 1}]),
        ("ARRAY['\\x00'::bytea]", ["AA=="]),
        ("ARRAY['(1,1),(0,0)'::box]", ["(1,1),(0,0)"]),
        ("ARRAY[int4range(1, 5)]", ["[1,5)"]),
        ("ROW(1, 'a')", "(1,a)"),
        ("'1 2'::int2vector", "1 2"),
        ("'$1.50'::money", "$1.50"),
        ("'a=>1'::text::xml", "a=>1"),
        ("pg_sleep(0)", ""),
    ],
)
def test_each_type_has_a_form_in_json(place, sql, expected):
    assert value(place, sql) == expected


def test_domains_and_enums_and_their_arrays(shared_database, place):
    shared_database.session("admin").run(
        "CREATE TYPE mood AS ENUM ('sad', 'so-so'); CREATE DOMAIN small AS integer; CREATE TABLE kinds"
        " (one mood, many mood[], small small, smalls small[]); INSERT INTO kinds VALUES ('so-so', '{sad,NULL}', 1, '{2,3}')"
    )
    assert rows(place, "SELECT * FROM kinds") == [{"one": "so-so", "many": ["sad", None], "small": 1, "smalls": [2, 3]}]


def test_every_table_and_view_of_the_schema_and_the_catalogue_can_be_read(place):
    names = rows(
        place,
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'v', 'm')"
        " AND relnamespace IN ('public'::regnamespace, 'pg_catalog'::regnamespace)",
    )
    for each in names:
        text = f"SELECT * FROM {each['name']} LIMIT 20"
        if each["name"] == "pg_shmem_allocations_numa":
            # There from 18 on; a server that was built without the library for it refuses to show it.
            with contextlib.suppress(StatementError):
                rows(place, text)
        else:
            rows(place, text)
    assert len(names) > 100


@examples
@given(st.lists(st.none() | TEXTS))
def test_texts_and_arrays_come_back_as_they_went(place, values):
    assert value(place, "%s::text[]", values) == values


@examples
@given(TEXTS)
def test_a_text_comes_back_as_it_went(place, text):
    assert value(place, "%s::text", text) == text


@examples
@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_decimals_lose_nothing(place, number):
    assert Decimal(value(place, "%s::numeric", str(number))) == number


@examples
@given(st.floats())
def test_floats_lose_nothing(place, number):
    shown = value(place, "%s::float8", repr(number))
    if math.isfinite(number):
        assert shown == number
    else:
        assert shown in ("NaN", "Infinity", "-Infinity")


@examples
@given(st.datetimes(timezones=st.just(datetime.timezone.utc)))
def test_timestamps_are_read_back_as_they_went(place, moment):
    shown = value(place, "%s::timestamptz", moment.isoformat())
    assert datetime.datetime.fromisoformat(shown) == moment


@examples
@given(st.binary())
def test_bytes_come_back_as_base64(place, data):
    assert base64.b64decode(value(place, "%s::bytea", "\\x" + data.hex())) == data


@examples
@given(st.dictionaries(TEXTS, st.recursive(st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS, st.lists)))
def test_a_mapping_is_sent_as_json_and_comes_back(place, mapping):
    assert value(place, "%s::jsonb", mapping) == mapping


def test_session_styles_of_a_login_make_no_difference(place):
    styled = dataclasses.replace(
        place,
        options="-c datestyle=German -c intervalstyle=postgres_verbose -c bytea_output=escape -c extra_float_digits=0"
        " -c timezone=Asia/Kolkata",
    )
    assert value(styled, "'2026-02-06 07:08:09+00'::timestamptz") == "2026-02-06T12:38:09+05:30"
    assert value(styled, "interval '90 minutes'") == "PT1H30M"
    assert value(styled, "'\\x00ff'::bytea") == "AP8="
    assert value(styled, "0.1::float8 + 0.2") == 0.30000000000000004


@pytest.mark.parametrize(
    ("fetch", "sql", "words"),
    [
        ("one", "SELECT 1 AS a UNION ALL SELECT 2", "has 2 rows where fetch one takes one at most"),
        ("value", "SELECT 1 AS a UNION ALL SELECT 2", "has 2 rows where fetch value"),
        ("value", "SELECT 1 AS a, 2 AS b", "has 2 columns where fetch value takes one"),
        ("all", "SELECT 1 AS a, 2 AS a", "several columns named a"),
    ],
)
def test_a_result_that_does_not_fit_keeps_nothing(place, shared_database, fetch, sql, words):
    write = Statement("INSERT INTO hosts (name, type) VALUES ('not-kept', 'vm')")
    with pytest.raises(StatementError, match=words) as caught:
        run_statements(place, [write, Statement(sql)], fetch=fetch)
    assert caught.value.number == 2
    assert shared_database.session("admin").value("SELECT count(*) FROM hosts WHERE name = 'not-kept'") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1; SELECT 2", "holds 2 statements, the second on line 1"),
        ("COMMIT", r"controls the transaction \(COMMIT\)"),
        ("  -- now\n begin; ", r"controls the transaction \(BEGIN\)"),
        ("START TRANSACTION", "controls the transaction"),
        ("SAVEPOINT a", "controls the transaction"),
        ("ROLLBACK TO a", "controls the transaction"),
        ("PREPARE TRANSACTION 'a'", "controls the transaction"),
        ("SET TRANSACTION READ ONLY", "controls the transaction"),
        ("", "holds no SQL"),
        ("/* nothing */ ;", "holds no SQL"),
        ("\\copy hosts to x", "backslash command"),
    ],
)
def test_texts_are_refused_before_anything_runs(place, shared_database, text, words):
    write = Statement("SELECT setval('task_events_id_seq', 1000)")
    with pytest.raises(StatementTextError, match=words) as caught:
        run_statements(place, [write, Statement(text)])
    assert "Statement 2 of 2" in str(caught.value)
    assert shared_database.session("admin").value("SELECT last_value FROM task_events_id_seq") != 1000


@pytest.mark.parametrize("text", ["VACUUM hosts", "CREATE DATABASE other", "CREATE INDEX CONCURRENTLY ON hosts (type)"])
def test_what_cannot_run_in_a_transaction_names_the_module_that_can(place, text):
    with pytest.raises(StatementError, match=r"community\.postgresql\.postgresql_query and autocommit") as caught:
        run_statements(place, [Statement(text)])
    assert caught.value.sqlstate == "25001"


@pytest.mark.parametrize(
    ("statements", "number", "sqlstate", "words"),
    [
        ([("SELECT * FROM nothing", None)], 1, "42P01", 'The statement failed: relation "nothing" does not exist'),
        ([("SELECT 1", None), ("SELECT %s::integer", ["s3cret-word"])], 2, "22P02", r"\*{8}"),
        ([("SELECT %(a)s::integer", {"a": "s3cret-word"})], 1, "22P02", r"\*{8}"),
        ([("SELECT %s, %s", [1])], 1, None, "number differs from that of the placeholders"),
        ([("SELECT %(b)s", {"a": 1})], 1, None, "placeholder 'b' has no value"),
        ([("COPY hosts FROM STDIN", None)], 1, None, "COPY"),
        ([("INSERT INTO hosts (name, type) VALUES ('a', 'toaster')", None)], 1, "23514", "constraint"),
        ([("SELECT pg_terminate_backend(pg_backend_pid())", None)], 1, None, "was lost"),
    ],
)
def test_a_failure_is_one_sentence_with_number_and_code(place, statements, number, sqlstate, words):
    with pytest.raises(StatementError, match=words) as caught:
        run_statements(place, [Statement(*each) for each in statements])
    assert (caught.value.number, caught.value.sqlstate) == (number, sqlstate)
    assert "s3cret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_commit_that_fails_says_so(place, shared_database):
    shared_database.session("admin").run(
        "CREATE TABLE later_to (id integer PRIMARY KEY);"
        "CREATE TABLE later (id integer REFERENCES later_to DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(StatementError, match=r"could not be committed: .*violates foreign key") as caught:
        run_statements(place, [Statement("INSERT INTO later VALUES (1)")])
    assert caught.value.sqlstate == "23503"
    assert caught.value.constraint == "later_id_fkey"
    assert caught.value.number is None
