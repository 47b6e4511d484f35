"""SQL as a program on a test host sends it: over TCP, with the distribution's psycopg2."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import testinfra

# Answers with the rows, or with PostgreSQL's error, as JSON. What it did is rolled back unless told otherwise.
CLIENT = """
import json, sys
import psycopg2
request = json.loads(sys.argv[1])
try:
    connection = psycopg2.connect(connect_timeout=10, **request["connection"])
    with connection.cursor() as cursor:
        cursor.execute(request["statement"], request["parameters"])
        rows = cursor.fetchall() if cursor.description else []
    if request["commit"]:
        connection.commit()
    answer = {"rows": rows}
except psycopg2.Error as error:
    answer = {"sqlstate": error.pgcode, "error": str(error).strip()}
print(json.dumps(answer, default=str))
"""


class RefusedError(Exception):
    """PostgreSQL refused the connection (no SQLSTATE) or the statement."""

    def __init__(self, sqlstate: str | None, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True)
class Login:
    """A database login that is used on one test host."""

    host: testinfra.host.Host
    user: str
    password: str
    dbname: str
    server: str = "localhost"
    port: int = 5432

    def rows(self, statement: str, *parameters: object, commit: bool = False) -> list[list]:
        request = {
            "connection": {
                "host": self.server,
                "port": self.port,
                "user": self.user,
                "password": self.password,
                "dbname": self.dbname,
            },
            "statement": statement,
            "parameters": parameters or None,
            "commit": commit,
        }
        answer = json.loads(self.host.check_output("python3 -c %s %s", CLIENT, json.dumps(request)))
        if "error" in answer:
            raise RefusedError(answer["sqlstate"], answer["error"])
        return answer["rows"]

    def value(self, statement: str, *parameters: object, commit: bool = False) -> object:
        [[value]] = self.rows(statement, *parameters, commit=commit)
        return value

    def but(self, **changes: object) -> Login:
        return replace(self, **changes)


def as_administrator(host: testinfra.host.Host, statement: str, dbname: str = "postgres") -> str:
    """What psql prints for the operating system's user postgres over the local socket."""
    command = "setpriv --reuid postgres --regid postgres --init-groups psql -X -At -d %s -c %s"
    return host.check_output(command, dbname, statement)
