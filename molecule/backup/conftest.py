from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass

import pytest
import testinfra


@dataclass(frozen=True)
class DatabaseHost:
    """A test host with the administrator's psql on it."""

    name: str
    host: testinfra.host.Host

    def sql(self, *statements: str, port: int = 5432) -> str:
        """What psql prints of the statements, each in a transaction of its own."""
        commands = [word for statement in statements for word in ("-c", statement)]
        arguments = ["psql", "-XAtq", "-p", str(port), "-d", "mission_control", *commands]
        return self.run(*arguments)

    def run(self, *arguments: str) -> str:
        """What a program prints that the user of the server runs."""
        return self.host.check_output("cd / && runuser -u postgres -- " + " ".join(["%s"] * len(arguments)), *arguments)

    def write(self, first: int, last: int) -> None:
        """Count on: each number in a transaction of its own, with an entry in the audit log."""
        statement = "INSERT INTO tasks (title, created_by) VALUES ('{0}', 'counter'); " + (
            "INSERT INTO audit_entries (actor, action, target_id, outcome) VALUES ('counter', 'count', '{0}', 'success')"
        )
        self.sql(*(statement.format(number) for number in range(first, last + 1)))

    def counted(self, port: int = 5432) -> list[int]:
        numbers = self.sql("SELECT title FROM tasks WHERE created_by = 'counter' ORDER BY title::integer", port=port)
        return [int(number) for number in numbers.split()]

    def logged(self, port: int = 5432) -> list[int]:
        numbers = self.sql("SELECT target_id FROM audit_entries WHERE actor = 'counter' ORDER BY id", port=port)
        return [int(number) for number in numbers.split()]

    def archive(self) -> None:
        """End the segment of the write-ahead log and wait until the repository has it."""
        segment = self.sql("SELECT pg_current_xact_id()", "SELECT pg_walfile_name(pg_switch_wal())").split("\n")[1]
        self.wait_for(f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver", "t")

    def wait_for(self, question: str, answer: str) -> None:
        deadline = time.monotonic() + 60
        while self.sql(question) != answer:
            assert time.monotonic() < deadline, question
            time.sleep(0.2)

    def moment(self) -> str:
        """Now, by the server's clock, with nothing committed in the same instant."""
        return self.sql("SELECT pg_sleep(0.1)", "SELECT clock_timestamp()", "SELECT pg_sleep(0.1)").split("\n")[1]

    def kept_backups(self) -> list[dict]:
        pgbackrest = ("pgbackrest", "--config=/etc/pgbackrest/mission_control.conf", "--stanza=mission_control")
        return json.loads(self.run(*pgbackrest, "--output=json", "info"))[0]["backup"]


def database_host(name: str) -> DatabaseHost:
    return DatabaseHost(name, testinfra.get_host(f"podman://mission-control-backup-{name}"))


@pytest.fixture(scope="session")
def clusters() -> list[DatabaseHost]:
    """The hosts with pgBackRest."""
    return [database_host("debian12"), database_host("debian13")]


@pytest.fixture(scope="session")
def dumps() -> DatabaseHost:
    return database_host("no-systemd")


@pytest.fixture(scope="session")
def replacement() -> DatabaseHost:
    return database_host("new-machine")


@pytest.fixture(scope="session")
def restore(run_playbook, project):
    """Run playbooks/restore.yml on some hosts, with variables by their names without the prefix; kill it after so many seconds."""

    def run(hosts, *arguments, confirm="mission_control", kill_after=None, **variables):
        given = {f"mission_control_backup_restore_{name}": value for name, value in variables.items()}
        if confirm:
            given["mission_control_backup_restore_confirm"] = confirm
        limit = ",".join(each.name for each in hosts)
        extra = ("--limit", limit, "--extra-vars", json.dumps(given), *arguments)
        return run_playbook(project / "playbooks/restore.yml", *extra, kill_after=kill_after)

    return run


@pytest.fixture(scope="session")
def healthy_hosts():
    """Count the hosts of an output on which all health checks passed but those of sources of the inventory and of budgets, which have nothing to check."""

    def count(output):
        found = re.findall(
            r"\b(\d+) of (\d+) checks passed, 2 not checked\. No source fills the inventory", " ".join(output.split())
        )
        return sum(int(passed) == int(all_checks) - 2 for passed, all_checks in found)

    return count


@pytest.fixture(scope="session")
def backup_health(run_playbook, project):
    """What the health check says, of all hosts of a list."""

    def run(hosts):
        limit = ",".join(each.name for each in hosts)
        return " ".join(run_playbook(project / "playbooks/health.yml", "--limit", limit).output.split())

    return run
