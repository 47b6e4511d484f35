"""What cluster.yml forms: one server out of three hosts, with everything between them over TLS, and no secret where it does not belong."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import testinfra
from secrets_on_host import HostWatch, Known, files_with, journal, misplaced

CA = "/etc/database-cluster/ca.crt"
SINGLE = 0 if os.environ.get("MISSION_CONTROL_TEST_FROM_NOTHING") else 1000
SECRETS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "secrets")
PSQL = "PGCONNECT_TIMEOUT=10 PGPASSWORD=application-password psql -XAtq"
LOGIN = f"user=mission_control dbname=mission_control sslmode=verify-full sslrootcert={CA}"


def scope(member):
    """The cluster's name, as patronictl wants it."""
    return member.run("ls /etc/patroni/*-main.yml").removeprefix("/etc/patroni/").removesuffix(".yml")


def asked(cluster, server, statement):
    """What the application on the client is answered by the server that a connection string names."""
    return cluster.client.run(f'{PSQL} -d "{LOGIN} {server}" -c "{statement}"')


def test_rows_and_chain_of_the_single_server_are_on_every_member(cluster):
    cluster.settle()
    for member in cluster.members:
        counted = member.sql("SELECT count(*) FROM tasks WHERE created_by = 'single'", "mission_control")
        assert counted == str(SINGLE)
        assert member.sql("SELECT valid FROM verify_audit_chain()", "mission_control") == "t"


def test_members_replicate_over_tls(cluster):
    leader = cluster.leader()
    encrypted = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
    assert leader.sql(encrypted) == "2|2"


def test_proxy_and_list_of_hosts_lead_to_the_leader_and_reads_to_a_standby(cluster):
    leader, where = cluster.leader(), "SELECT pg_is_in_recovery(), host(inet_server_addr())"
    every = ",".join(member.name for member in reversed(cluster.members))
    for server in ("host=localhost port=5000", f"host={every} port=5432 target_session_attrs=read-write"):
        assert asked(cluster, server, where) == f"f|{leader.address}"
    assert asked(cluster, "host=localhost port=5001", where).startswith("t|")


REQUEST = """
import ssl, sys, urllib.error, urllib.request
try:
    asked = urllib.request.Request(sys.argv[2], method=sys.argv[1], data=b"{}" if sys.argv[1] == "PATCH" else None)
    print(urllib.request.urlopen(asked, timeout=10, context=ssl.create_default_context(cafile=sys.argv[3])).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(error)
"""


def test_without_certificate_or_password_nobody_gets_in(cluster):
    def answer(method, url):
        return cluster.client.run(f"python3 -c {shlex.quote(REQUEST)} {method} {url} {CA}")

    address = cluster.leader().address
    refused = answer("GET", f"https://{address}:2379/version")
    # As older and newer versions of TLS call it.
    assert re.search("certificate required|bad certificate", refused.replace("_", " "), re.IGNORECASE), refused
    assert answer("GET", f"https://{address}:8008/primary") == "200"
    assert answer("PATCH", f"https://{address}:8008/config") == "401"
    code, output = cluster.client.attempt(f'{PSQL} -d "{LOGIN} host={address} sslmode=disable" -c "SELECT 1"')
    assert code == 2
    assert "no encryption" in output


@pytest.fixture(scope="module")
def secrets():
    """A callable: every secret that cluster.yml keeps, with the places on a member where it belongs."""

    def read():
        pgpass = "/var/lib/postgresql/"
        places = {
            "superuser": ("/etc/patroni/", pgpass),
            "replication": ("/etc/patroni/", pgpass),
            "rewind": ("/etc/patroni/", pgpass),
            "rest": ("/etc/patroni/",),
            "ca.key": (),
            **{f"ha{number}.key": ("/etc/database-cluster/",) for number in (1, 2, 3)},
        }
        return {name: Known((SECRETS / name).read_text().strip(), where) for name, where in places.items()}

    return read


def test_secrets_are_rotated_and_nowhere_else_than_they_belong(cluster, run_playbook, scenario, secrets):
    """Neither in etcd, logs, statistics of statements, process lists, nor in what -vvv prints."""
    for name in ("superuser", "replication", "rewind", "rest"):
        (SECRETS / name).unlink()
    leader = cluster.leader()
    leader.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    standby = next(member for member in cluster.members if member.name != leader.name)
    with HostWatch(testinfra.get_host(f"podman://{leader.container}")) as watch:
        run = run_playbook(scenario / "cluster.yml", "-vvv", "--diff")
    assert run.returncode == 0, run.output
    known = secrets()
    assert watch.looks > 0
    assert misplaced(known, {"output": run.output, **watch.places()}) == []
    for member in (leader, standby):
        host = testinfra.get_host(f"podman://{member.container}")
        files = files_with(host, [secret.value for secret in known.values()])
        assert any(path.startswith("/etc/patroni/") for path in files), "the search finds nothing at all"
        statements = member.sql("SELECT query FROM pg_stat_statements")
        assert misplaced(known, {"journal": journal(host), "statements": statements, **files}) == []
    # A standby that begins anew logs in with the password that is in force.
    cluster.patronictl(leader, f"restart {scope(leader)} {standby.name} --force", timeout=60)
    cluster.settle()


def test_a_second_run_changes_nothing(cluster, run_playbook, scenario):
    cluster.settle()
    run = run_playbook(scenario / "cluster.yml")
    assert (run.returncode, run.changed) == (0, 0), run.output


def test_a_second_server_with_data_is_refused_and_left_alone(cluster, run_playbook, scenario):
    standby = next(member for member in cluster.members if member is not cluster.leader())
    [known] = standby.run("ls /var/lib/postgresql/*/main/patroni.dynamic.json").split()
    standby.run(f"mv {known} {known}.aside")
    try:
        run = run_playbook(scenario / "cluster.yml")
    finally:
        standby.run(f"mv {known}.aside {known}")
    assert run.returncode != 0
    assert f"{standby.name} has data that this cluster does not know" in " ".join(run.output.split())
    assert run.changed == 0
    assert cluster.problem(synchronous=True) == ""
