"""systemctl stop while answers are in flight: each of them arrives whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sql_on_host import as_administrator

testinfra_hosts = ["debian12", "debian13"]
UNIT = "mission-control.service"
CALLERS = 5
LOCK = "BEGIN; LOCK TABLE hosts; SELECT pg_sleep(60)"
HOLDERS = (
    "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'hosts'::regclass"
)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'mission_control_service' AND wait_event_type = 'Lock'"
RELEASE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()"


def ask(database_host, statement):
    return as_administrator(database_host, statement, "mission_control")


@pytest.fixture
def locked_hosts(database_host, eventually):
    """Whoever reads the table `hosts` waits, until what this gives is called."""
    database_host.check_output(
        "systemd-run --quiet --collect --uid=postgres psql --no-psqlrc --dbname=mission_control --command=%s", LOCK
    )
    eventually(lambda: ask(database_host, HOLDERS) == "1")
    yield lambda: ask(database_host, RELEASE)
    ask(database_host, RELEASE)


@pytest.fixture
def started_again(host, service, eventually):
    yield
    host.check_output(f"systemctl start {UNIT}")
    eventually(lambda: service.status("/ready") == 200)


def test_no_answer_in_flight_is_lost(
    host, service, unit, token, database_host, eventually, locked_hosts, started_again
):
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        answers = [pool.submit(service.get, "/api/v1/inventory/hosts", token) for _number in range(CALLERS)]
        eventually(lambda: ask(database_host, WAITING) == str(CALLERS))
        stop = pool.submit(host.run, f"systemctl stop {UNIT}")
        eventually(lambda: unit("ActiveState") == "deactivating")
        locked_hosts()
        assert [answer.result().status for answer in answers] == [200] * CALLERS
        assert stop.result().rc == 0
    assert (unit("ActiveState"), unit("Result"), unit("ExecMainStatus")) == ("inactive", "success", "0")
    assert service.status("/live") == 0, "nobody listens"
    assert ask(database_host, WAITING) == "0"
