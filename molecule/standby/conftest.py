"""The pairs of the scenario, and runs of the playbooks with the groups as they are after a promotion, or with a host that Ansible cannot reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
# The application that writes, its journal and its judge are those of the drills of a cluster.
sys.path.append(str(PROJECT / "molecule/cluster"))

from drill_hosts import Host, wait_until  # noqa: E402
from drill_judge import figures, judge, read_journal, rows_of  # noqa: E402
from drills import Load  # noqa: E402
from processes import kill_with_descendants  # noqa: E402

PAIRS = {"bookworm": ("one", "two"), "trixie": ("three", "four")}
CALLS = [*["pair"] * 8, "batch", "event"]
BEFORE = 1000
# Nobody listens there.
NOBODY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


class Run:
    """How a playbook ended, what it said, and how long it took in seconds."""

    def __init__(self, returncode: int, output: str, seconds: float) -> None:
        self.returncode, self.output, self.seconds = returncode, output, seconds
        self.text = " ".join(output.split())

    def changed(self, *hosts: str) -> dict[str, int]:
        lines = (line.split() for line in self.output.splitlines() if " changed=" in line)
        counts = {
            words[0]: int(next(word for word in words if word.startswith("changed=")).split("=")[1]) for words in lines
        }
        return {host: counts[host] for host in hosts}


class Pair:
    """Two hosts of the scenario: whichever is the primary, and the other."""

    def __init__(self, scenario: Path, suite: str, directory: Path) -> None:
        self.suite, self.names = suite, PAIRS[suite]
        self._scenario, self._directory = scenario, directory
        self.hosts = {name: Host(name, f"mission-control-{scenario.name}-{name}") for name in self.names}
        self.primary = next(name for name, host in self.hosts.items() if host.is_primary())

    @property
    def standby(self) -> str:
        return next(name for name in self.names if name != self.primary)

    def host(self, name: str) -> Host:
        return self.hosts[name]

    def inventory(self, unreachable: str = "") -> Path:
        """The scenario's inventory, with this pair alone, as it is to be after the last promotion."""
        place = self._directory / f"{self.primary}-{unreachable or 'all'}"
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "group_vars").exists():
            (place / "group_vars").symlink_to(self._scenario / "inventory/group_vars")
        hosts: dict[str, dict[str, Any]] = {name: {"test_host_suite": self.suite} for name in self.names}
        if unreachable:
            hosts[unreachable].update(NOBODY)
        groups = {"mission_control": self.primary, "mission_control_standby": self.standby}
        content: dict[str, Any] = {group: {"hosts": {name: hosts[name]}} for group, name in groups.items()}
        content["test_hosts"] = {"children": dict.fromkeys(groups)}
        (place / "hosts.yml").write_text(yaml.safe_dump(content))
        return place

    def run(self, playbook: str, *arguments: str, unreachable: str = "", kill_at: str = "", **variables: Any) -> Run:
        """Run a playbook of the project; with kill_at only until its output has this text, and then kill it with all that it started."""
        command = ["ansible-playbook", f"--inventory={PROJECT / 'molecule/shared/inventory'}"]
        command += [f"--inventory={self.inventory(unreachable)}", str(PROJECT / playbook)]
        command += [f"--extra-vars={json.dumps(variables)}", *arguments]
        started, lines = time.monotonic(), []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self._scenario
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if kill_at and kill_at in line:
                    kill_with_descendants(process.pid)
        return Run(process.returncode, "".join(lines), time.monotonic() - started)

    def wait_until_whole(self) -> None:
        """Return when the primary takes writes and its standby streams."""

        def whole() -> bool:
            states = {name: self.hosts[name].state() for name in self.names}
            primary, standby = states[self.primary], states[self.standby]
            return bool(
                primary
                and standby
                and not primary["standby"]
                and standby["standby"]
                and any(each["name"] == self.standby and each["state"] == "streaming" for each in primary["standbys"])
            )

        wait_until(whole, f"{self.standby} streams from {self.primary}")

    def kill(self, name: str) -> float:
        """Kill the server of a host with SIGKILL, and return when that was."""
        self.hosts[name].run("kill -KILL $(head --lines 1 /var/lib/postgresql/*/main/postmaster.pid)")
        return time.monotonic()


class Drill:
    """An application that writes to a pair while something happens to it."""

    def __init__(self, pair: Pair, client: Host, name: str) -> None:
        self.pair, self.name = pair, name
        settings = {
            "host": ",".join(pair.names),
            "target_session_attrs": "read-write",
            "user": "mission_control",
            "password": "application-password",
            "sslmode": "verify-full",
            "sslrootcert": f"/etc/mission-control/{pair.suite}.crt",
        }
        self.load = Load(client, name, {"settings": settings, "kinds": CALLS, "threads": 4, "pause": 0, "reader": None})
        wait_until(lambda: self.load.acknowledged() >= BEFORE, f"{BEFORE} acknowledgements")

    def end(self, fault: float, *, may_lose: bool = False) -> dict[str, Any]:
        """Let the application write for a while, end it, and compare its journal with what the primary has; return figures."""
        self.load.goes_on(200)
        healed = time.monotonic()
        said = self.load.stop()
        calls = read_journal(self.load.journal("writer-*.jsonl"))
        judgement = judge(calls, rows_of(self.pair.host(self.pair.primary), self.name), may_lose=may_lose)
        chain = "SELECT valid FROM verify_audit_chain()"
        assert self.pair.host(self.pair.primary).sql(chain, "mission_control", timeout=300) == "t"
        assert (said, judgement.findings) == ("", [])
        result = {"lost": judgement.lost, "unknown_there": judgement.unknown_there, **figures(calls, fault, healed)}
        assert result["before"] >= BEFORE
        print(f"{self.name}: {json.dumps(result)}")
        return result


@pytest.fixture(scope="session")
def client(scenario, project) -> Host:
    found = Host("client", f"mission-control-{scenario.name}-client")
    found.run("rm --recursive --force /opt/mission_control; mkdir --parents /etc/mission-control")
    passwords = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    for source, target in (
        (project / "plugins/module_utils", "/opt/mission_control"),
        (project / "molecule/cluster/writer.py", "/opt/writer.py"),
        *((passwords / f"passwords-{suite}/ca.crt", f"/etc/mission-control/{suite}.crt") for suite in PAIRS),
    ):
        subprocess.run(["podman", "cp", str(source), f"{found.container}:{target}"], check=True, capture_output=True)
    return found


@pytest.fixture(scope="session")
def pairs(scenario, tmp_path_factory) -> dict[str, Pair]:
    return {suite: Pair(scenario, suite, tmp_path_factory.mktemp(suite)) for suite in PAIRS}


@pytest.fixture
def pair(pairs) -> Pair:
    """The hosts with Debian 12."""
    pairs["bookworm"].wait_until_whole()
    return pairs["bookworm"]


@pytest.fixture
def drill(client):
    """A callable: begin a drill on a pair, when a thousand calls have been acknowledged."""
    return lambda pair, name: Drill(pair, client, f"{name}-{time.time_ns()}")
