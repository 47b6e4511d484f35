"""Which INSERT may be sent for many rows at once, and how it is put together."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.database.bulk import (
    PAGE_ROWS,
    insert_pages,
    split_insert,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ParameterError


@pytest.mark.parametrize(
    ("sql", "head", "group", "tail"),
    [
        ("INSERT INTO t (a, b) VALUES (%s, %s)", "INSERT INTO t (a, b) VALUES ", "(%s, %s)", ""),
        ("insert into t values(%s)", "insert into t values", "(%s)", ""),
        (
            "INSERT INTO t (a) VALUES (lower(%s), now()) ON CONFLICT (a) DO UPDATE SET b = excluded.b, c = 1 RETURNING a, b;",
            "INSERT INTO t (a) VALUES ",
            "(lower(%s), now())",
            " ON CONFLICT (a) DO UPDATE SET b = excluded.b, c = 1 RETURNING a, b;",
        ),
        ("INSERT INTO t VALUES (%(a)s, %(b)s)", "INSERT INTO t VALUES ", "(%(a)s, %(b)s)", ""),
        ('INSERT INTO "values (" VALUES (%s)', 'INSERT INTO "values (" VALUES ', "(%s)", ""),
        ("-- VALUES (\nINSERT INTO t VALUES (%s, ')')", "-- VALUES (\nINSERT INTO t VALUES ", "(%s, ')')", ""),
    ],
)
def test_an_insert_of_one_row_is_taken_apart(sql, head, group, tail):
    insert = split_insert(sql)
    assert insert[:3] == (head, group, tail)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = %s",
        "INSERT INTO t SELECT %s",
        "INSERT INTO t VALUES (%s), (%s)",
        "INSERT INTO t VALUES (%s) /* x */ , (2)",
        "INSERT INTO t VALUES (%s) ON CONFLICT (a) DO UPDATE SET b = %s",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (%s, %(a)s)",
        "INSERT INTO t VALUES (%s, '50%%')",
        "INSERT INTO t VALUES (%s %% 2)",
        "INSERT INTO t VALUES ($x$)$x$, %s)",
        r"INSERT INTO t VALUES (E'\')', %s)",
        "INSERT INTO t VALUES (%s); DELETE FROM t",
        "WITH x AS (VALUES (1)) INSERT INTO t VALUES (%s)",
        "SELECT * FROM (VALUES (%s)) AS v",
        "INSERT INTO t (a) OVERRIDING SYSTEM VALUE SELECT 1",
    ],
)
def test_anything_else_is_left_as_it_is(sql):
    assert split_insert(sql) is None


def shown(sql, parameters):
    return f"{sql} {parameters}".encode()


def test_rows_are_put_into_pages():
    insert = split_insert("INSERT INTO t VALUES (%s, %s) RETURNING 1")
    pages = list(insert_pages(insert, ((n, -n) for n in range(PAGE_ROWS + 1)), shown))
    assert len(pages) == 2
    assert pages[1] == f"INSERT INTO t VALUES (%s, %s) RETURNING 1 [{PAGE_ROWS}, -{PAGE_ROWS}]".encode()
    assert list(insert_pages(insert, [], shown)) == []


def test_each_row_must_fit_by_itself():
    insert = split_insert("INSERT INTO t VALUES (%s, %s)")
    for rows in ([(1, 2, 3), (4,)], [(1, 2), "ab"], [{"a": 1, "b": 2}]):
        with pytest.raises(ParameterError, match="2 values"):
            list(insert_pages(insert, rows, shown))
