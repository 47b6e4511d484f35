from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import testinfra

AUTHORITY = "/etc/mission-control/ca.crt"


@dataclass(frozen=True)
class Psql:
    """libpq's own client on a test host."""

    host: testinfra.host.Host
    password: str = "application-password"
    user: str = "mission_control"
    dbname: str = "mission_control"
    server: str = "server"
    options: str = f"sslmode=verify-full sslrootcert={AUTHORITY}"

    def but(self, **changes: str) -> Psql:
        return replace(self, **changes)

    def _run(self, statement: str) -> testinfra.backend.base.CommandResult:
        where = f"host={self.server} dbname={self.dbname} user={self.user} connect_timeout=10 {self.options}"
        return self.host.run("PGPASSWORD=%s psql -X -A -t -d %s -c %s", self.password, where, statement)

    def value(self, statement: str) -> str:
        answer = self._run(statement)
        assert answer.rc == 0, answer.stderr
        return answer.stdout.strip()

    def refusal(self, statement: str = "SELECT 1") -> str:
        """Why libpq got no session, on one line."""
        answer = self._run(statement)
        assert answer.rc == 2, f"{answer.rc}: {answer.stdout}{answer.stderr}"
        return " ".join(answer.stderr.split())


@pytest.fixture(scope="session")
def on(scenario):
    """A callable: one of the scenario's hosts by its name."""
    return lambda name: testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}")


@pytest.fixture(scope="session")
def server(on) -> testinfra.host.Host:
    return on("server")


@pytest.fixture(scope="session")
def client(on) -> testinfra.host.Host:
    return on("client")


@pytest.fixture(scope="session")
def psql(client) -> Psql:
    """The application's login at the server, from the host that may come in."""
    return Psql(client)


@pytest.fixture(scope="session")
def serial(client):
    """A callable: the serial number of the certificate that the server shows to a new client."""
    shown = (
        "openssl s_client -connect server:5432 -starttls postgres </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    return lambda: client.check_output(shown)
