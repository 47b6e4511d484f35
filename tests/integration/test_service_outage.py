"""The database goes and comes back, or hangs, under a running service."""

import os
import signal

import mission_control_database as layer
import pytest
from restartable_cluster import RestartableCluster
from service_lab import Service


@pytest.fixture(scope="module")
def outage_database():
    """A database whose server is this module's own."""
    with RestartableCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "mission_control")
        layer.provision(database)
        database.close()
        yield database


@pytest.fixture(scope="module")
def service(tmp_path_factory, outage_database):
    with Service(tmp_path_factory.mktemp("service"), outage_database, STATEMENT_TIMEOUT=2) as service:
        service.wait_for("/ready", 200)
        yield service


def workers(service):
    """Process ids of the service's worker."""
    with open(f"/proc/{service.process.pid}/task/{service.process.pid}/children", encoding="ascii") as file:
        return file.read().split()


def server_processes(cluster):
    with open(f"/proc/{cluster.pid}/task/{cluster.pid}/children", encoding="ascii") as file:
        return [cluster.pid, *map(int, file.read().split())]


def test_a_database_that_goes_and_comes_is_followed_without_a_restart(service, outage_database):
    before = workers(service)
    for mode in ("fast", "immediate"):
        outage_database.cluster.stop(mode)
        service.wait_for("/ready", 503)
        assert service.get("/live")[0] == 200
        status, body = service.get("/health")
        assert (status, body["status"], body["database"]["connected"]) == (503, "error", False)
        assert service.get("/api/v1/inventory/hosts")[0] == 503
        assert service.get("/api/v1/summary")[0] in (200, 503)
        assert service.get("/metrics")[0] == 200
        outage_database.cluster.start()
        service.wait_for("/ready", 200)
        assert service.get("/api/v1/inventory/hosts")[0] == 200
    assert workers(service) == before


def test_a_database_that_hangs_hangs_no_endpoint(service, outage_database):
    stopped = server_processes(outage_database.cluster)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        # Whichever endpoint hung would not answer before the time-out of the client.
        service.wait_for("/health", 503, within=60)
        for path in (
            "/live",
            "/ready",
            "/health",
            "/metrics",
            "/api/v1/inventory/hosts",
            "/api/v1/tasks",
            "/api/v1/summary",
        ):
            status, _body = service.get(path, timeout=60)
            assert status == {"/live": 200, "/metrics": 200}.get(path, 503) or path == "/api/v1/summary"
        assert "mission_control_up 0" in service.get("/metrics", timeout=60)[1]
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    service.wait_for("/ready", 200, within=60)
    service.wait_for("/api/v1/tasks", 200, within=60)


def test_a_service_that_starts_before_its_database_finds_it_later(tmp_path, outage_database):
    outage_database.cluster.stop()
    with Service(tmp_path, outage_database) as early:
        assert early.get("/ready")[0] == 503
        assert early.get("/live")[0] == 200
        outage_database.cluster.start()
        early.wait_for("/ready", 200)
