"""`mission-control query`: rows without loss in every format, parameters, and that it reads unless told otherwise."""

import base64
import csv
import io
import json
import subprocess
import sys
import uuid

import pytest
from command import environment_of, on_terminal, run_command

VALUES = """SELECT 0.10000000000000000000001::numeric AS exact, '\\x00ff'::bytea AS bytes,
    '6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55'::uuid AS id, 9007199254740993 AS big, NULL::text AS nothing, '' AS empty,
    'infinity'::timestamptz AS ever, interval '1 month 2 days' AS span, '{"a": [1.5, null]}'::jsonb AS doc,
    ARRAY['x', NULL, 'y,"z'] AS list, 'NaN'::float8 AS nan, true AS yes, '10.0.0.1/8'::inet AS net, E'é\\n漢"' AS word,
    '2026-03-29 00:30:00.000001+00'::timestamptz AS at, '[1,5)'::int4range AS range, 1e-12::numeric AS tiny"""


def one_json(database, *arguments, **options):
    result = run_command(database, "query", *arguments, **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_json_loses_nothing(database):
    (row,) = one_json(database, "--json", VALUES)
    assert row == {
        "exact": "0.10000000000000000000001",
        "bytes": base64.b64encode(b"\x00\xff").decode(),
        "id": "6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55",
        "big": 9007199254740993,
        "nothing": None,
        "empty": "",
        "ever": "infinity",
        "span": "P1M2D",
        "doc": {"a": [1.5, None]},
        "list": ["x", None, 'y,"z'],
        "nan": "NaN",
        "yes": True,
        "net": "10.0.0.1/8",
        "word": 'é\n漢"',
        "at": "2026-03-29T00:30:00.000001+00:00",
        "range": "[1,5)",
        "tiny": "0.000000000001",
    }
    assert one_json(database, "--json-lines", VALUES) == row


def test_csv_loses_nothing_and_tells_null_from_an_empty_text(database):
    result = run_command(database, "query", "--csv", VALUES)
    (row,) = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert row["exact"] == "0.10000000000000000000001"
    assert (row["bytes"], row["word"], row["ever"]) == ("\\x00ff", 'é\n漢"', "infinity")
    assert (row["at"], row["span"], row["yes"]) == ("2026-03-29 00:30:00.000001+00", "P1M2D", "t")
    assert row["list"] == '{x,NULL,"y,\\"z"}'
    assert run_command(database, "query", "--csv", "SELECT NULL AS a, '' AS b").stdout == 'a,b\n,""\n'


def test_csv_is_read_by_postgresql_as_it_was(database, admin, tmp_path):
    text = "SELECT n, chr(n) AS c, CASE WHEN n % 3 = 0 THEN NULL ELSE E' \\t\"' || n END AS t FROM generate_series(1, 700) AS n"
    result = run_command(database, "query", "--csv", text)
    admin.run("CREATE TABLE again (n integer, c text, t text)")
    with admin.connection.cursor() as cursor:
        cursor.copy_expert("COPY again FROM STDIN (FORMAT csv, HEADER)", io.StringIO(result.stdout, newline=""))
    assert admin.value(f"SELECT count(*) FROM (({text}) EXCEPT TABLE again) AS lost") == 0
    assert admin.value("SELECT count(*) FROM again") == 700


def test_the_table_is_for_people(database):
    result = run_command(
        database,
        "query",
        "SELECT * FROM (VALUES ('nas', 1.50), (E'a\\x1b[31m\\nb', 10)) AS t (name, size), LATERAL (SELECT NULL AS x) AS y",
    )
    assert result.stdout.splitlines() == [
        "name            size  x",
        "nas             1.50  NULL",
        "a\\u001b[31m\\nb    10  NULL",
        "(2 rows)",
    ]


def test_on_a_terminal_wide_rows_are_folded_or_blocks_of_lines_and_dates_are_whole(database):
    sql = "SELECT date '2026-11-27' AS day, repeat('word ', 30) AS text, E'a\\x1b[31m' AS escape"
    code, folded = on_terminal(database, "query", sql, columns=50)
    assert (code, folded.count("word"), folded.count("2026-11-27  word")) == (0, 30, 1)
    assert max(map(len, folded.splitlines())) <= 50
    assert len(run_command(database, "query", sql).stdout.splitlines()) == 3
    code, blocks = on_terminal(database, "query", "TABLE provider_pricing LIMIT 2", columns=50)
    assert (code, blocks.count("\nprovider  ")) == (0, 2)
    assert "\x1b" not in folded + blocks
    assert max(map(len, blocks.splitlines())) <= 50


def test_a_table_shows_columns_of_the_same_name_and_json_refuses_them(database):
    assert run_command(database, "query", "SELECT 1 AS a, 2 AS a").stdout.splitlines()[1] == "1  2"
    result = run_command(database, "query", "--json", "SELECT 1 AS a, 2 AS a")
    assert (result.returncode, result.stdout) == (2, "")
    assert "several columns named a" in result.stderr
    refused = "INSERT INTO hosts (name, type) VALUES ('nas', 'vm') RETURNING name, type AS name"
    assert run_command(database, "query", "--json", "--write", refused).returncode == 2
    assert one_json(database, "--json-lines", "SELECT count(*) AS n FROM hosts") == {"n": 0}


def test_a_table_has_a_limit_and_says_so(database):
    result = run_command(database, "query", "SELECT * FROM generate_series(1, 5000) AS n")
    lines = result.stdout.splitlines()
    assert (len(lines), lines[-1]) == (1002, "(the first 1,000 rows; --limit 0 shows all)")
    result = run_command(database, "query", "--limit", "0", "SELECT * FROM generate_series(1, 5000) AS n")
    assert result.stdout.splitlines()[-1] == "(5,000 rows)"
    assert run_command(database, "query", "--limit", "1", "SELECT 1 AS n").stdout.splitlines()[-1] == "(1 row)"
    assert len(one_json(database, "--json", "--limit", "3", "SELECT * FROM generate_series(1, 5000) AS n")) == 3


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 4000, 12345])
def test_every_row_of_a_large_result_comes_once(database, count):
    sql = f"SELECT n FROM generate_series(1, {count}) AS n"
    result = run_command(database, "query", "--csv", sql)
    assert result.stdout.split("\n") == ["n", *map(str, range(1, count + 1)), ""]
    assert [row["n"] for row in one_json(database, "--json", sql)] == list(range(1, count + 1))


def test_a_large_result_is_not_held_in_memory(database):
    """123 million characters of rows, in a process that may have little more than it needs for itself."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (100 << 20, 100 << 20)); "
        "from ansible_collections.homelab.mission_control.plugins.module_utils.cli.main import main; sys.exit(main())"
    )
    sql = "SELECT n, repeat(md5(n::text), 32) AS t FROM generate_series(1, 120000) AS n"
    with subprocess.Popen(
        [sys.executable, "-c", script, "query", "--csv", sql], env=environment_of(database), stdout=subprocess.PIPE
    ) as process:
        lines = sum(1 for line in process.stdout)
    assert (process.returncode, lines) == (0, 120_001)


def test_parameters_are_values_and_never_text(database):
    attack = "x'; DROP TABLE hosts; --"
    row = one_json(
        database, "--json-lines", "-v", f"a={attack}", "-v", "b=2", "SELECT %(a)s AS a, %(b)s::int AS b, '%%' AS c"
    )
    assert row == {"a": attack, "b": 2, "c": "%"}
    row = one_json(database, "--json-lines", "-v", "a=x=y", "-v", "empty=", "SELECT %(a)s AS a, %(empty)s AS e")
    assert row == {"a": "x=y", "e": ""}
    wanted = str(uuid.uuid4())
    sql = "SELECT count(*) AS n FROM tasks WHERE id = %(id)s"
    assert one_json(database, "--json-lines", "-v", f"id={wanted}", sql) == {"n": 0}
    assert one_json(database, "--json-lines", "SELECT 'a' LIKE '%' AS l") == {"l": True}, "no parameter, no doubling"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-v", "b=1", "SELECT %(a)s"], "the placeholder 'a' has no value"),
        (["-v", "a=1", "-v", "a=2", "SELECT %(a)s"], "given twice"),
        (["SELECT 1; SELECT 2"], "There are 2 statements, the second on line 1"),
        (["  -- nothing"], "There is no SQL to run"),
        ([], "There is no SQL to run"),
        (["COMMIT"], "controls the transaction (COMMIT)"),
        (["\\d hosts"], "backslash command of psql"),
    ],
)
def test_what_cannot_be_run_is_wrong_usage(database, arguments, sentence):
    result = run_command(database, "query", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_statement_may_come_from_standard_input(database):
    for arguments in ([], ["-"]):
        result = run_command(database, "query", "--csv", *arguments, stdin="\ufeffSELECT 'é' AS a;\n-- end\n".encode())
        assert result.stdout == "a\né\n", result.stderr
    assert "not UTF-8" in run_command(database, "query", stdin=b"SELECT '\xff'").stderr


WRITES = [
    "INSERT INTO hosts (name, type) VALUES ('nas', 'vm')",
    "WITH new AS (INSERT INTO hosts (name, type) VALUES ('nas', 'vm') RETURNING 1) SELECT * FROM new",
    "CREATE TABLE nothing ()",
    "DO $$BEGIN INSERT INTO hosts (name, type) VALUES ('nas', 'vm'); END$$",
]


@pytest.mark.parametrize("sql", WRITES)
def test_a_query_only_reads(database, admin, sql):
    result = run_command(database, "query", sql, POSTGRES_USER="postgres")
    assert result.returncode == 1
    assert "Queries are read-only: --write lets them write." in result.stderr
    assert result.stderr.count("\n") == 1
    assert admin.value("SELECT count(*) FROM hosts") == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SET TRANSACTION READ WRITE; INSERT INTO hosts (name, type) VALUES ('nas', 'vm')",
        "SELECT set_config('transaction_read_only', 'off', true), (SELECT nextval('task_events_id_seq'))",
        "COMMIT; INSERT INTO hosts (name, type) VALUES ('nas', 'vm')",
        "DO $$BEGIN COMMIT; INSERT INTO hosts (name, type) VALUES ('nas', 'vm'); END$$",
        "DO $$BEGIN SET TRANSACTION READ WRITE; INSERT INTO hosts (name, type) VALUES ('nas', 'vm'); END$$",
    ],
)
def test_nor_by_a_trick(database, admin, sql):
    assert run_command(database, "query", sql, POSTGRES_USER="postgres").returncode in (1, 2)
    assert admin.value("SELECT count(*) FROM hosts") == 0


def test_with_write_it_writes_and_commits(database, admin):
    result = run_command(
        database, "query", "--write", "-v", "name=nas", "INSERT INTO hosts (name, type) VALUES (%(name)s, 'vm')"
    )
    assert (result.returncode, result.stdout) == (0, "INSERT 0 1\n")
    result = run_command(
        database, "query", "--write", "--csv", "UPDATE hosts SET status = 'online' RETURNING name, status"
    )
    assert result.stdout == "name,status\nnas,online\n"
    assert admin.values("SELECT status FROM hosts") == ["online"]
    result = run_command(database, "query", "--write", "--json", "DELETE FROM hosts")
    assert (result.returncode, json.loads(result.stdout), result.stderr) == (0, [], "DELETE 1\n")


def test_what_the_server_says_is_one_line(database):
    result = run_command(database, "query", "SELECT * FROM hots")
    assert result.returncode == 1
    assert result.stderr == 'mission-control: relation "hots" does not exist (SQLSTATE 42P01).\n'
    duplicate = "INSERT INTO hosts (name, type) VALUES ('nas', 'vm'), ('nas', 'vm')"
    result = run_command(database, "query", "--write", duplicate)
    assert result.returncode == 1
    assert "uq_hosts_type_cluster_name" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_error_in_the_middle_of_the_rows_is_told_and_not_taken_for_the_end(database):
    result = run_command(database, "query", "--csv", "SELECT 1 / (5000 - n) AS q FROM generate_series(1, 6000) AS n")
    assert result.returncode == 1
    assert result.stdout.count("\n") > 2000
    assert "division by zero" in result.stderr


def test_a_statement_time_out_is_the_servers(database):
    result = run_command(database, "query", "--statement-timeout", "0.2", "SELECT pg_sleep(60)")
    assert result.returncode == 1
    assert "57014" in result.stderr
    result = run_command(database, "query", "--csv", "--statement-timeout", "7", "SHOW statement_timeout")
    assert result.stdout == "statement_timeout\n7s\n"


def test_explain_and_other_statements_that_no_cursor_takes(database):
    assert "Seq Scan on hosts" in run_command(database, "query", "EXPLAIN SELECT * FROM hosts").stdout
    assert run_command(database, "query", "--csv", "VALUES (1)").stdout == "column1\n1\n"
    assert (
        run_command(database, "query", "--csv", "(SELECT 1 AS a) UNION ALL (SELECT 2) ORDER BY 1").stdout == "a\n1\n2\n"
    )
