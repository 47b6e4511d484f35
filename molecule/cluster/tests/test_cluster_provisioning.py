"""site.yml, the modules and the service on the cluster, through HAProxy and by a list of hosts, whoever leads."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile

import pytest
import testinfra
import yaml
from drill_hosts import wait_until
from http_on_host import HttpService

# A database and logins of its own, for what the drills must not meet.
LAB = {
    "mission_control_database_name": "lab",
    "mission_control_database_password": "password-of-the-lab",
    **{
        f"mission_control_database_{role}": f"lab_{role.removesuffix('_role')}"
        for role in (
            *("user", "owner_role", "audit_role", "readonly_role", "monitor_role"),
            *("service_role", "maintenance_role", "executor_role", "approver_role"),
        )
    },
}
# The commit of version 0.2.0 before it knew of several hosts.
EARLIER = "6d572aca4511eaa73517963bcd7fe1c517044bd1"
CA = "/etc/database-cluster/ca.crt"


@pytest.fixture(scope="module")
def by_list(cluster):
    """The administrator's way by the members' names, of which the leader is the last."""

    def variables():
        leader = cluster.leader().name
        names = sorted((member.name for member in cluster.members), key=lambda name: name == leader)
        return {"mission_control_login_host": names, "mission_control_login_port": 5432}

    return variables


def switch_over(cluster):
    """Let the synchronous standby lead."""
    cluster.settle()
    leader = cluster.leader()
    [candidate] = [each["name"] for each in leader.state()["standbys"] if each["sync"] == "sync"]
    cluster.patronictl(leader, f"switchover --candidate {candidate} --force", timeout=60)
    cluster.settle()
    assert cluster.leader().name == candidate


def site(run_playbook, project, variables):
    return run_playbook(project / "site.yml", "--limit", "mission_control", "--extra-vars", json.dumps(variables))


def failed_hosts(run):
    return set(re.findall(r"^fatal: \[(\w+)\]: FAILED!", run.output, re.MULTILINE))


def test_provisioning_changes_nothing_whoever_leads(cluster, run_playbook, project, by_list):
    switch_over(cluster)
    for way in ({}, by_list()):
        run = site(run_playbook, project, way)
        assert (run.returncode, run.changed) == (0, 0), run.output


@pytest.fixture(scope="module")
def earlier_version(project, tmp_path_factory):
    """A checkout of the earlier version of the collection."""
    directory = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(["git", "-C", project, "archive", EARLIER], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="tar")
    return directory


def lab(cluster, statement, password, port=5000):
    where = f"host=localhost port={port} dbname=lab user=lab_user sslmode=verify-full sslrootcert={CA}"
    code, output = cluster.client.attempt(f'PGPASSWORD={password} psql -XAtq -d "{where}" -c "{statement}"')
    return code, output.strip()


def test_a_filled_database_of_an_earlier_version_is_upgraded(
    cluster, run_playbook, scenario, project, by_list, earlier_version, tmp_path
):
    """With a migration of the homelab's own, and another password; the rule that its logins need is asked for until it is there."""
    run = run_playbook(
        earlier_version / "playbooks/provision.yml",
        *("--limit", "mission_control", "--extra-vars", json.dumps(LAB)),
        ANSIBLE_CONFIG=str(earlier_version / "ansible.cfg"),
    )
    assert run.returncode == 0, run.output
    cluster.leader().sql(
        "INSERT INTO tasks (title, created_by) SELECT 'task ' || number, 'system' FROM generate_series(1, 500) AS number; "
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('operator', 'upgrade', 'success')",
        "lab",
    )
    (tmp_path / "001_site.sql").write_text("CREATE TABLE site_notes (id integer PRIMARY KEY);\n")
    now = {
        **LAB,
        "mission_control_database_password": "rotated-password-of-the-lab",
        "mission_control_schema_site_directory": str(tmp_path),
    }
    run = site(run_playbook, project, {**now, **by_list()})
    assert run.returncode == 0, run.output
    asked_for = "- hostssl lab lab_user "
    assert asked_for in run.output
    code, output = lab(cluster, "SELECT 1", now["mission_control_database_password"])
    assert (code, "no pg_hba.conf entry" in output) == (2, True)

    variables = yaml.safe_load((scenario / "inventory/group_vars/database_proxies.yml").read_text())
    rules = [*variables["cluster_rules"], "hostssl lab all {{ cluster_network }} scram-sha-256"]
    run = run_playbook(scenario / "cluster.yml", "--extra-vars", json.dumps({"cluster_rules": rules}))
    assert run.returncode == 0, run.output
    run = site(run_playbook, project, {**now, **by_list()})
    assert (run.returncode, run.changed) == (0, 0), run.output
    assert asked_for not in run.output

    everything = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM site_notes), (SELECT valid FROM verify_audit_chain())"
    wait_until(lambda: lab(cluster, "SELECT 1", now["mission_control_database_password"])[0] == 0, "the rule")
    assert lab(cluster, everything, now["mission_control_database_password"]) == (0, "500|0|t")
    # On a standby, too.
    assert lab(cluster, everything, now["mission_control_database_password"], port=5001) == (0, "500|0|t")
    code, output = lab(cluster, "SELECT 1", LAB["mission_control_database_password"])
    assert (code, "password authentication failed" in output) == (2, True)


@pytest.fixture(scope="module")
def as_single_servers(cluster, tmp_path_factory):
    """An inventory in which the members are hosts that get a server of their own."""
    file = tmp_path_factory.mktemp("inventory") / "hosts.json"
    hosts = {
        member.name: {
            "mission_control_postgresql_mode": "package",
            "mission_control_login_host": "",
            "mission_control_login_port": 5432,
            "mission_control_login_password": "",
            "mission_control_login_ssl_mode": "prefer",
            "mission_control_login_ca_cert": "",
            "mission_control_login_become_user": "postgres",
        }
        for member in cluster.members
    }
    file.write_text(json.dumps({"mission_control": {"hosts": hosts}}))
    return ("--inventory", str(file), "--limit", "database_cluster")


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "run"])
def test_mode_package_is_refused_on_every_member(cluster, run_playbook, project, as_single_servers, check):
    files = "find /etc/postgresql /etc/postgresql-common /etc/patroni -type f -exec sha256sum {} + | sort"
    before = [member.run(files) for member in cluster.members]
    run = run_playbook(project / "playbooks/provision.yml", *as_single_servers, *check)
    assert run.returncode != 0
    assert run.changed == 0, run.output
    assert failed_hosts(run) == {member.name for member in cluster.members}
    said = " ".join(run.output.split())
    assert said.count("is run by Patroni") >= len(cluster.members)
    assert "set mission_control_postgresql_mode to existing" in said
    assert [member.run(files) for member in cluster.members] == before


def test_health_says_what_each_member_is_expected_to_be(cluster, run_playbook, project, as_single_servers):
    leader = cluster.leader()
    expected = json.dumps({"mission_control_health_expected_role": "standby"})
    run = run_playbook(project / "playbooks/health.yml", *as_single_servers, "--extra-vars", expected)
    assert run.returncode != 0
    assert failed_hosts(run) == {leader.name}, run.output


def test_the_service_goes_on_with_whoever_leads(cluster, run_playbook, project, by_list):
    names = [member.name for member in cluster.members]
    service = {
        "mission_control_service_enabled": True,
        "mission_control_service_database_host": names,
        "mission_control_service_database_port": 5432,
    }
    run = site(run_playbook, project, {**service, **by_list()})
    assert run.returncode == 0, run.output
    http = HttpService(testinfra.get_host(f"podman://{cluster.client.container}"), 3000)
    assert http.status("/ready?writable=true") == 200
    switch_over(cluster)
    wait_until(lambda: http.status("/ready?writable=true") == 200, "the service")
    run = site(run_playbook, project, {**service, **by_list()})
    assert (run.returncode, run.changed) == (0, 0), run.output
