"""The password of the login must not appear in anything that the client says, prints, logs or raises."""

import copy
import dataclasses
import logging
import traceback

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import Settings
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectError, SettingsError

PASSWORD = "pW-7/Qz%x@y z'q\"b\\s"
TOKEN = "t0ken-of-thirty-two-characters-or-more"
QUOTED = "pW-7%2FQz%25x%40y%20z'q%22b%5Cs"


@pytest.fixture(scope="module")
def login(cluster):
    connection = cluster.connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE keeper LOGIN PASSWORD %s", (PASSWORD,))
    connection.close()
    yield {"host": "127.0.0.1", "port": cluster.port, "user": "keeper", "database": "postgres"}
    connection = cluster.connect()
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE keeper")
    connection.close()


class Collected:
    def __init__(self):
        self.texts = []

    def say(self, *values):
        for value in values:
            self.texts += [repr(value), str(value)]

    def failing(self, work, with_locals=False):
        """What a failure shows. Locals hold what the caller handed over, so they count only where that was nothing."""
        try:
            work()
        except Exception as error:
            self.say(error, error.args, vars(error))
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            if with_locals:
                self.texts += [frame_text(frame) for each in chain(report) for frame in each.stack if is_ours(frame)]
            self.texts += ["".join(each.format_exception_only()) for each in chain(report)]
            self.texts.append(traceback.format_exc())
            return error
        raise AssertionError("it did not fail")


def chain(report):
    """The whole chain, also the parts that are not shown as a rule."""
    while report is not None:
        yield report
        report = report.__cause__ or report.__context__


def is_ours(frame):
    return "test_client_secrets" not in frame.filename


def frame_text(frame):
    return f"{frame.name} {frame.line} {frame.locals}"


def test_the_token_of_tools_never_appears(login, caplog, tmp_path):
    """Neither in what is said here, nor in a statement that other sessions of the login could read."""
    caplog.set_level(logging.DEBUG)
    out = Collected()
    options = {**login, "password": PASSWORD, "tool_token": TOKEN}
    with Client(**options, slow_query=0) as db:
        out.say(db, db.settings, vars(db.settings), dataclasses.asdict(db.settings), db.tools)
        with db.borrow(5) as session:
            out.say(session.connection)
            told = session.query("SELECT current_setting('mission_control.tool_token') = %s AS told", [TOKEN]).rows
        assert told == [{"told": True}]
        out.failing(lambda: db.query(f"SELECT $${TOKEN}$$::integer"))
    for each in ({"user": "nobody"}, {"options": "-c nonsense=1"}, {"options": "--nonsense"}):
        client = Client(**{**options, **each})
        assert isinstance(out.failing(client.connect, with_locals=True), ConnectError)
        out.say(client.health())
    assert [text for text in [*out.texts, caplog.text] if TOKEN in text] == []


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_the_password_never_appears(login, caplog, capfd, level, tmp_path, monkeypatch):
    caplog.set_level(level)
    caplog.set_level(level, logger="mission_control")
    out = Collected()
    env_file = tmp_path / "database.env"
    env_file.write_text(f'POSTGRES_PASSWORD="{PASSWORD}'.replace("\\", "\\\\") + "\n", encoding="utf-8")
    url = f"postgresql://keeper:{QUOTED}@127.0.0.1:{login['port']}/postgres"

    with Client(**login, password=PASSWORD, slow_query=0) as db:
        out.say(db, db.settings, vars(db.settings), dataclasses.asdict(db.settings), copy.deepcopy(db.settings))
        out.say(db.health(), db.pool_stats(), db.health().as_dict(), db.query("SELECT 1"), db.transaction())
        db.query("SELECT %s", [PASSWORD])
        db.query(f"SELECT %s -- {PASSWORD.replace('%', '%%')}", [1])
        db.query("SELECT '" + PASSWORD.replace("'", "''") + "'")
        db.query("SELECT $$" + PASSWORD + "$$")
        out.failing(lambda: db.query("SELECT %s::integer", [PASSWORD]))
        out.failing(lambda: db.query("SELECT $$" + PASSWORD + "$$::integer"))
        out.failing(lambda: db.query(f'SELECT "{PASSWORD.replace(chr(34), chr(34) * 2)}"'))
        out.failing(lambda: db.query("ALTER ROLE nobody_at_all PASSWORD %s", [PASSWORD]))
        out.failing(lambda: db.query("SELECT pg_terminate_backend(pg_backend_pid())"))
        out.failing(lambda: db.execute_many("INSERT INTO nothing VALUES (%s)", [[PASSWORD]]))
        out.failing(lambda: db.query("SELECT %s %s", [PASSWORD]))
        out.failing(lambda: db.query("SELECT %s", [PASSWORD + "\0"]))
    out.failing(lambda: db.query("SELECT 1"))
    with Client(url) as db:
        out.say(db, db.settings)
    refused_logins = [
        lambda: Client(**{**login, "database": "missing"}, password=PASSWORD),
        lambda: Client(**{**login, "user": "nobody"}, password=PASSWORD),
        lambda: Client(**{**login, "host": "127.0.0.1,nowhere.invalid", "port": 1}, password=PASSWORD),
        lambda: Client(**login, password=PASSWORD, sslmode="verify-full"),
        lambda: Client(**login, password=PASSWORD, sslmode="require"),
        lambda: Client(**login, password=PASSWORD, options="-c nonsense=1"),
        lambda: Client(**login, password=PASSWORD + "x"),
        lambda: Client(**login, password=PASSWORD, sslkey=PASSWORD, sslmode="require"),
    ]
    for each in refused_logins:
        client = each()
        assert isinstance(out.failing(client.connect, with_locals=True), ConnectError)
        out.say(client.health(), client.pool_stats())
    wrong_settings = [
        lambda: Client(url + "?sslmode=nonsense"),
        lambda: Client(url.replace("%2F", "/")),
        lambda: Client(url.replace("%40", "@") + "#"),
        lambda: Client(url.replace(":", "?", 2)),
        lambda: Client(url.replace("%2F", "?")),
        lambda: Settings.load(env_file=str(env_file), environment={}),
        lambda: Settings.load(password=PASSWORD + "\0"),
        lambda: Client(settings=db.settings, password=PASSWORD),
    ]
    for each in wrong_settings:
        assert isinstance(out.failing(each), SettingsError)
    printed = capfd.readouterr()
    everything = [*out.texts, caplog.text, printed.out, printed.err, *(repr(vars(each)) for each in caplog.records)]
    pieces = [PASSWORD, repr(PASSWORD)[1:-1], QUOTED, "pW-7/Qz", "pW-7%2FQz"]
    assert len(out.texts) > 100
    leaks = [text for text in everything for piece in pieces if piece in text]
    assert leaks == []
