"""A new password while a client is at work: whoever reads it from an env file goes on, and nobody's sessions end."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    PoolTimeoutError,
)
from throwaway_cluster import ThrowawayCluster

OLD, NEW = "the-old-password", "the-new-password"
WRONG = "password authentication failed"


@pytest.fixture(scope="module")
def server(server_version):
    with ThrowawayCluster() as cluster:
        yield cluster


@pytest.fixture
def set_password(server):
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("DROP ROLE IF EXISTS me")
    cursor.execute("CREATE ROLE me LOGIN")

    def change(password):
        cursor.execute("ALTER ROLE me PASSWORD %s", [password])

    change(OLD)
    yield change
    connection.close()


@pytest.fixture
def env_file(server, tmp_path):
    path = tmp_path / "database.env"

    def write(password, user="me"):
        path.write_text(
            f"POSTGRES_HOST='127.0.0.1'\nPOSTGRES_PORT='{server.port}'\nPOSTGRES_DB='postgres'\n"
            f"POSTGRES_USER='{user}'\nPOSTGRES_PASSWORD='{password}'\n"
        )
        return str(path)

    write.path = str(path)
    write(OLD)
    return write


def pids(db, number):
    """The process ids of so many connections at once."""
    if number == 0:
        return []
    with db.transaction() as transaction:
        return [transaction.query_one("SELECT pg_backend_pid() AS pid")["pid"], *pids(db, number - 1)]


def refusal(db):
    """What a caller is told who has waited for a connection in vain; on a slow machine once the server has answered at all."""
    while True:
        known = db.pool_stats().open_errors > 0
        with pytest.raises(PoolTimeoutError) as refused:
            pids(db, 2)
        if known or WRONG in str(refused.value):
            return str(refused.value)


def test_sessions_go_on_and_new_ones_take_the_password_that_the_file_holds_now(env_file, set_password):
    with Client(env_file=env_file.path) as db:
        [first] = pids(db, 1)
        set_password(NEW)
        env_file(NEW)
        assert pids(db, 1) == [first]
        assert len(set(pids(db, 3))) == 3
        assert db.pool_stats().open_errors == 0


def test_between_the_server_and_the_file_a_caller_waits(env_file, set_password):
    with Client(env_file=env_file.path, pool_timeout=30) as db, ThreadPoolExecutor() as threads:
        set_password(NEW)
        work = threads.submit(pids, db, 2)
        while not work.done() and db.pool_stats().open_errors == 0:
            time.sleep(0.01)
        env_file(NEW)
        assert len(set(work.result())) == 2


def test_a_file_for_another_login_is_not_taken(env_file, set_password):
    """Else the password of one server would be sent to another."""
    with Client(env_file=env_file.path, pool_timeout=1) as db:
        set_password(NEW)
        env_file(NEW, user="somebody")
        assert WRONG in refusal(db)


@pytest.mark.parametrize("text", ["", "no env file", None])
def test_a_file_that_cannot_be_read_changes_nothing(env_file, set_password, tmp_path, text):
    with Client(env_file=env_file.path, pool_timeout=1) as db:
        set_password(NEW)
        if text is None:
            (tmp_path / "database.env").unlink()
        else:
            (tmp_path / "database.env").write_text(text)
        assert WRONG in refusal(db)


def test_a_password_that_was_given_is_not_replaced(env_file, set_password):
    with Client(env_file=env_file.path, password=OLD, pool_timeout=1) as db:
        set_password(NEW)
        env_file(NEW)
        assert WRONG in refusal(db)


def test_neither_password_is_shown(env_file, set_password):
    with Client(env_file=env_file.path, pool_timeout=1) as db:
        set_password("a-third-one")
        env_file(NEW)
        told = refusal(db)
    for text in (told, repr(db), repr(db.settings), str(db.pool_stats())):
        assert OLD not in text
        assert NEW not in text


def test_a_first_login_fails_at_once(env_file, set_password):
    set_password(NEW)
    with pytest.raises(ConnectError, match=WRONG):
        Client(env_file=env_file.path).connect()
