"""A password goes to the server that it belongs to, and what names a login replaces the environment of libpq."""

import contextlib
import os

import psycopg2.extensions
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database.driver import _LIBPQ_VARIABLES
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectError
from command import run_command
from throwaway_cluster import ThrowawayCluster

PASSWORD = "of-this-server-alone"
NOTHING = {"environment": {}, "env_file": os.devnull}


@pytest.fixture(scope="module")
def server():
    """A server with a login by SCRAM, and another one that asks for the same password in clear text."""
    with ThrowawayCluster() as cluster:
        with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE ROLE me LOGIN PASSWORD %s", [PASSWORD])
            cursor.execute("CREATE ROLE open_hearted LOGIN PASSWORD %s", [PASSWORD])
            cursor.execute("SHOW hba_file")
            path = cursor.fetchone()[0]
            with open(path, encoding="utf-8") as file:
                rules = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write("host all open_hearted 127.0.0.1/32 password\n" + rules)
            cursor.execute("SELECT pg_reload_conf()")
        yield cluster


@pytest.fixture
def env_file(server, tmp_path):
    """The env file of a server under another name, whose password would do here."""
    path = tmp_path / "database.env"
    path.write_text(
        f"POSTGRES_HOST=localhost\nPOSTGRES_PORT={server.port}\nPOSTGRES_DB=postgres\nPOSTGRES_USER=me\n"
        f"POSTGRES_PASSWORD='{PASSWORD}'\n",
        encoding="utf-8",
    )
    return path


WHO = ("query", "--csv", "SELECT current_user")


def test_the_command_line_sends_the_password_of_an_env_file_to_its_server_alone(server, env_file):
    assert run_command(None, *WHO, "--env-file", str(env_file)).stdout == "current_user\nme\n"
    for options in (
        ("--host", "127.0.0.1", "--port", str(server.port), "--user", "me", "--database", "postgres"),
        ("--user", "postgres", "--host", "localhost", "--port", str(server.port)),
    ):
        result = run_command(None, *WHO, *options, "--env-file", str(env_file))
        assert result.returncode == 3
        assert "no password supplied" in result.stderr
        assert (
            f"The password of {env_file} was not used: it belongs to localhost port {server.port} as me."
            in result.stderr
        )
        assert PASSWORD not in result.stderr
    result = run_command(
        None,
        *WHO,
        *options[:2],
        "--host",
        "127.0.0.1",
        "--port",
        str(server.port),
        POSTGRES_HOST="localhost",
        POSTGRES_PASSWORD=PASSWORD,
    )
    assert "The password of the environment was not used: it belongs to localhost." in result.stderr


def test_a_password_alone_in_the_environment_is_for_the_login_that_the_options_name(server):
    place = ("--host", "127.0.0.1", "--port", str(server.port), "--user", "me", "--database", "postgres")
    for name in ("POSTGRES_PASSWORD", "PGPASSWORD"):
        assert run_command(None, *WHO, *place, **{name: PASSWORD}).stdout == "current_user\nme\n"
    result = run_command(None, *WHO, *place, PGPASSWORD=PASSWORD, PGHOST="db.lab")
    assert "PGPASSWORD was not used: the environment names another server or login beside it." in result.stderr


NONSENSE = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "nowhere",
    "PGUSER": "nobody",
    "PGOPTIONS": "-c nonsense=1",
    "PGREQUIREPEER": "nobody_at_all",
    "PGREQUIRESSL": "1",
    "PGSSLCERT": "/nowhere",
    "PGSSLKEY": "/nowhere",
}


@pytest.mark.parametrize("variable", [each[0] for each in _LIBPQ_VARIABLES])
def test_no_variable_of_libpq_reaches_a_connection_whose_host_is_said(server, monkeypatch, variable):
    monkeypatch.setenv(variable, NONSENSE.get(variable, "nonsense"))
    with Client(host=server.socket_directory, port=server.port, user="postgres", database="postgres", **NOTHING) as db:
        assert db.query_one("SELECT current_user AS who, inet_server_addr() AS address") == {
            "who": "postgres",
            "address": None,
        }


def test_a_user_alone_means_the_local_socket_and_not_the_host_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(ConnectError) as error:
        Client(user="me", port=1, database="postgres", **NOTHING).connect()
    assert "127.0.0.1" not in str(error.value)
    assert ".s.PGSQL.1" in str(error.value)


def test_without_a_login_of_its_own_libpqs_environment_counts_as_a_whole(server, monkeypatch):
    for name, value in (("HOST", "127.0.0.1"), ("PORT", str(server.port)), ("USER", "me"), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"PG{name}", value)
    with Client(database="postgres", **NOTHING) as db:
        assert db.query_one("SELECT current_user AS who") == {"who": "me"}


def test_a_service_of_the_environment_adds_nothing_to_a_login(server, monkeypatch, tmp_path):
    services = tmp_path / "pg_service.conf"
    services.write_text(
        f"[lab]\nhostaddr=192.0.2.1\nuser=nobody\npassword={PASSWORD}\nsslmode=require\n", encoding="utf-8"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGSERVICE", "lab")
    with Client(host=server.socket_directory, port=server.port, user="postgres", database="postgres", **NOTHING) as db:
        assert db.query_one("SELECT current_user AS who") == {"who": "postgres"}
    with pytest.raises(ConnectError, match="no password supplied"):
        Client(host="127.0.0.1", port=server.port, user="me", database="postgres", **NOTHING).connect()
    monkeypatch.setenv("PGSERVICE", "missing")
    with pytest.raises(
        ConnectError, match="PGSERVICE of the environment names it, and is not meant for this connection"
    ):
        Client(host=server.socket_directory, port=server.port, user="postgres", **NOTHING).connect()
    place = (
        "--host",
        server.socket_directory,
        "--port",
        str(server.port),
        "--user",
        "postgres",
        "--database",
        "postgres",
    )
    result = run_command(None, *WHO, *place, PGSERVICE="missing", PGSERVICEFILE=str(services), PGHOSTADDR="192.0.2.1")
    assert (result.stdout, result.stderr) == ("current_user\npostgres\n", "")


def test_a_server_that_asks_for_a_clear_text_password_does_not_get_it(server):
    place = {"host": "127.0.0.1", "port": server.port, "user": "open_hearted", "database": "postgres", **NOTHING}
    assert psycopg2.extensions.libpq_version() >= 160000, "the one that psycopg2-binary brings"
    with pytest.raises(
        ConnectError, match="It is not sent in clear text to a server whose certificate is not verified"
    ):
        Client(**place, password=PASSWORD).connect()
    with Client(**place, password=PASSWORD, require_auth="password") as db:
        assert db.query_one("SELECT current_user AS who") == {"who": "open_hearted"}
