"""The database goes away and comes back under the service."""

from __future__ import annotations

testinfra_hosts = ["debian12", "debian13"]
CLUSTER = "postgresql@17-main"


def test_an_outage_is_told_and_restarts_nothing(service, unit, database_host, eventually):
    before = unit("NRestarts"), unit("MainPID")
    assert service.status("/ready") == 200
    database_host.check_output(f"systemctl stop {CLUSTER}")
    try:
        eventually(lambda: service.status("/ready") == 503)
        eventually(lambda: service.status("/health") == 503)
        assert service.status("/live") == 200
        assert service.get("/health").json["database"]["connected"] is False
    finally:
        database_host.check_output(f"systemctl start {CLUSTER}")
    eventually(lambda: service.status("/ready") == 200)
    eventually(lambda: service.status("/health") == 200)
    assert (unit("NRestarts"), unit("MainPID")) == before


def test_a_database_that_hangs_does_not_hang_the_service(service, database_host, eventually):
    processes = "ps -u postgres -o pid= | xargs --no-run-if-empty kill"
    database_host.check_output(f"{processes} -STOP")
    try:
        eventually(lambda: service.status("/ready") == 503)
        assert service.status("/live") == 200
        assert service.status("/health") == 503
    finally:
        database_host.check_output(f"{processes} -CONT")
    eventually(lambda: service.status("/ready") == 200)
