from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest
from drill_hosts import Cluster, Host
from drills import DRILLS, SEED, Drills

LOGIN = {
    "user": "mission_control",
    "password": "application-password",
    "sslmode": "verify-full",
    "sslrootcert": "/etc/database-cluster/ca.crt",
}
SETTINGS = {
    "list": {**LOGIN, "port": 5432},
    "proxy": {**LOGIN, "host": "localhost", "port": 5000},
    "reader": {**LOGIN, "host": "localhost", "port": 5001},
}
SLOW = "CREATE TABLE site_fast (id integer); CREATE TABLE site_slow AS SELECT pg_sleep({seconds}) IS NULL AS slept;"


def pytest_report_header() -> str:
    return f"drills: {DRILLS or 'those of every day'}, MISSION_CONTROL_ATTACK_SEED={SEED}"


@pytest.fixture(scope="session")
def cluster(scenario) -> Cluster:
    members = json.loads(
        subprocess.run(
            ["podman", "ps", "--format", "json", "--filter", f"name=^mission-control-{scenario.name}-ha"],
            check=True,
            capture_output=True,
        ).stdout
    )
    names = sorted(each["Names"][0] for each in members)
    hosts = [Host(name.rpartition("-")[2], name) for name in names]
    return Cluster(hosts, Host("client", f"mission-control-{scenario.name}-client"))


@pytest.fixture(scope="session")
def start_migration(run_playbook, project, tmp_path_factory):
    """A callable: begin to apply a site-local migration that sleeps so many seconds; returns what waits for its exit code and output."""
    directory = tmp_path_factory.mktemp("site")

    def start(seconds: int):
        (directory / "001_site.sql").write_text(SLOW.format(seconds=seconds))
        runs = []
        variables = json.dumps({"mission_control_schema_site_directory": str(directory)})
        thread = threading.Thread(
            target=lambda: runs.append(
                run_playbook(project / "playbooks/migrate.yml", "--limit", "mission_control", "--extra-vars", variables)
            )
        )
        thread.start()

        def outcome() -> tuple[int, str]:
            thread.join()
            return runs[0].returncode, runs[0].output

        return outcome

    return start


@pytest.fixture(scope="session")
def drills(cluster, scenario, project, start_migration) -> Drills:
    """The drills of this run, whose journal is .cache/SCENARIO/drills-SEED.jsonl."""
    client = cluster.client
    client.run("rm --recursive --force /opt/mission_control")
    for source, target in (
        (project / "plugins/module_utils", "/opt/mission_control"),
        (scenario / "writer.py", "/opt/writer.py"),
    ):
        subprocess.run(["podman", "cp", str(source), f"{client.container}:{target}"], check=True, capture_output=True)
    journal = Path(project) / ".cache" / scenario.name / f"drills-{SEED}.jsonl"
    return Drills(cluster, SETTINGS, journal, start_migration)
