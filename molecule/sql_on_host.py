"""SQL as a program on a test host sends it: over TCP, with the distribution's psycopg2."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import testinfra

# Carries out each statement in a transaction of its own, which it rolls back unless told otherwise, and answers as JSON with
# the rows or with PostgreSQL's error.
CLIENT = """
import json, sys
import psycopg2

def answer(connection, statement, parameters, commit):
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows = cursor.fetchall() if cursor.description else []
        if commit:
            connection.commit()
        return {"rows": rows}
    except psycopg2.Error as error:
        return {"sqlstate": error.pgcode, "error": str(error).strip()}
    finally:
        connection.rollback()

request = json.loads(sys.argv[1])
try:
    connection = psycopg2.connect(connect_timeout=10, **request["connection"])
    answers = [answer(connection, statement, request["parameters"], request["commit"]) for statement in request["statements"]]
except psycopg2.OperationalError as error:
    answers = [{"sqlstate": None, "error": str(error).strip()}] * len(request["statements"])
print(json.dumps(answers, default=str))
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

    def _answers(self, statements: list[str], parameters: tuple | None = None, commit: bool = False) -> list[dict]:
        request = {
            "connection": {
                "host": self.server,
                "port": self.port,
                "user": self.user,
                "password": self.password,
                "dbname": self.dbname,
            },
            "statements": statements,
            "parameters": parameters or None,
            "commit": commit,
        }
        return json.loads(self.host.check_output("python3 -c %s %s", CLIENT, json.dumps(request)))

    def rows(self, statement: str, *parameters: object, commit: bool = False) -> list[list]:
        [answer] = self._answers([statement], parameters, commit)
        if "error" in answer:
            raise RefusedError(answer["sqlstate"], answer["error"])
        return answer["rows"]

    def sqlstates(self, statements: list[str]) -> dict[str, str | None]:
        """What PostgreSQL answers to each statement; None where it carried it out."""
        answers = self._answers(statements)
        return {statement: answer.get("sqlstate") for statement, answer in zip(statements, answers)}

    def value(self, statement: str, *parameters: object, commit: bool = False) -> object:
        [[value]] = self.rows(statement, *parameters, commit=commit)
        return value

    def but(self, **changes: object) -> Login:
        return replace(self, **changes)


def as_administrator(host: testinfra.host.Host, statement: str, dbname: str = "postgres") -> str:
    """What psql prints for the operating system's user postgres over the local socket."""
    command = "setpriv --reuid postgres --regid postgres --init-groups psql -X -At -d %s -c %s"
    return host.check_output(command, dbname, statement)
