"""The server role on a host that it provisioned: nothing happens without need, and what goes wrong leaves no trace."""

from __future__ import annotations

import json

import pytest
from sql_on_host import as_administrator

CONFIGURATION = "/etc/postgresql/17/main"
DATA = "/var/lib/postgresql/17/main"


@pytest.fixture
def provision(run_playbook, scenario):
    def run(*arguments, **variables):
        return run_playbook(scenario / "converge.yml", "--extra-vars", json.dumps(variables), *arguments)

    return run


@pytest.fixture
def refusal(provision):
    """Provision with bad input and return the sentence that ends the run, on one line."""

    def run(**variables):
        outcome = provision(**variables)
        assert outcome.returncode != 0, outcome.output
        return " ".join(outcome.output.split("fatal: ")[-1].split("PLAY RECAP")[0].split())

    return run


def state(host):
    """What must be the same after a refusal: the running server and every byte of its files."""
    pid = host.check_output(f"head -1 {DATA}/postmaster.pid")
    files = host.check_output(
        "find /etc/postgresql /etc/postgresql-common /etc/apt -type f -exec sha256sum {} + | sort"
    )
    return pid, files, host.check_output("dpkg-query --show"), host.check_output("pg_lsclusters")


def pid(host):
    return host.check_output(f"head -1 {DATA}/postmaster.pid")


@pytest.fixture
def provisioned(host, provision):
    """Leave the host as the role makes it without further input."""
    yield
    outcome = provision()
    assert outcome.returncode == 0, outcome.output


# One input that is refused as it is, and those that only this host or its server can refuse.
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"port": 70000},
            "mission_control_postgresql_port is 70000, but it must be a whole number from 1024 to 65535.",
        ),
        ({"version": "16"}, "ships PostgreSQL 17, not 16"),
        ({"memory_mb": "99999999"}, "but it must be between 64 and the"),
        (
            {"settings": {"shared_buffers": "64kB"}},
            "The setting shared_buffers is 64kB, but it must be between 128kB and the",
        ),
        (
            {"settings": {"no_such_setting": 1}},
            'the previous one was restored: unrecognized configuration parameter "no_such_setting"',
        ),
        ({"settings": {"max_wal_size": "-5MB"}}, "is outside the valid range for parameter"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(host, refusal, variables, sentence):
    before = state(host)
    assert sentence in refusal(**{f"mission_control_postgresql_{name}": value for name, value in variables.items()})
    assert state(host) == before


def test_an_unsupported_distribution_is_one_sentence_and_changes_nothing(host, refusal):
    before = state(host)
    host.check_output("cp --preserve /usr/lib/os-release /root/os-release")
    try:
        host.check_output(
            "sed -i -e 's/^VERSION_ID=.*/VERSION_ID=11/' -e 's/^PRETTY_NAME=.*/PRETTY_NAME=Elderly/' /usr/lib/os-release"
        )
        assert "Elderly is not supported" in refusal()
    finally:
        host.check_output("mv /root/os-release /usr/lib/os-release")
    assert state(host) == before


def test_another_cluster_with_the_database_stops_the_run_and_nothing_is_made(host, refusal):
    host.check_output("pg_createcluster --port 5455 --start 17 other")
    try:
        host.check_output("runuser -u postgres -- createdb -p 5455 mission_control")
        before = state(host)
        assert "17/other already holds the database mission_control" in refusal()
        host.check_output("pg_ctlcluster 17 other stop")
        # A cluster that does not run cannot be asked, but this role provisioned 17/main before it.
        assert "Port 5455" not in refusal(
            mission_control_postgresql_cluster="third", mission_control_postgresql_port=5466
        )
        assert host.check_output("pg_lsclusters | wc --lines") == "3"
        host.check_output("pg_ctlcluster 17 other start")
        assert state(host)[1:3] == before[1:3]
    finally:
        host.check_output("pg_dropcluster --stop 17 other")


def test_a_port_that_something_else_holds_is_named(host, refusal):
    host.check_output("systemd-run --unit holder python3 -m http.server 5499 && sleep 1")
    try:
        before = state(host)
        sentence = refusal(mission_control_postgresql_port=5499)
        assert "Port 5499 is in use by python3 (process" in sentence
        assert state(host) == before
    finally:
        host.check_output("systemctl stop holder")


def test_a_library_that_is_not_there_does_not_cost_the_server(host, refusal):
    before = state(host)
    sentence = refusal(mission_control_postgresql_settings={"shared_preload_libraries": "absent"})
    assert 'the previous one was restored: could not access file "absent": No such file or directory' in sentence
    assert state(host)[1:] == before[1:]
    assert as_administrator(host, "SHOW shared_preload_libraries") == ""


@pytest.mark.usefixtures("provisioned")
def test_a_setting_is_reloaded_or_restarted_just_as_it_needs(host, provision):
    first = pid(host)
    assert provision(mission_control_postgresql_settings={"work_mem": "9MB"}).returncode == 0
    assert as_administrator(host, "SHOW work_mem") == "9MB"
    assert pid(host) == first, "a reload was enough"
    again = {"work_mem": "9MB", "max_connections": 44}
    assert provision(mission_control_postgresql_settings=again).returncode == 0
    assert as_administrator(host, "SHOW max_connections") == "44"
    second = pid(host)
    assert second != first
    outcome = provision(mission_control_postgresql_settings=again)
    assert outcome.changed == 0, outcome.output
    assert pid(host) == second


@pytest.mark.usefixtures("provisioned")
def test_a_run_that_was_killed_before_the_restart_is_finished_by_the_next(host, provision):
    """The file is written as the killed run left it; the server has not read it."""
    host.check_output(f"echo 'max_connections = 33' >>{CONFIGURATION}/conf.d/mission_control.conf")
    outcome = provision("--check", mission_control_postgresql_settings={"max_connections": 33})
    assert outcome.changed == 1, outcome.output
    assert provision(mission_control_postgresql_settings={"max_connections": 33}).returncode == 0
    assert as_administrator(host, "SHOW max_connections") == "33"
    host.check_output("pg_ctlcluster 17 main stop")
    assert provision(mission_control_postgresql_settings={"max_connections": 33}).returncode == 0
    assert as_administrator(host, "SHOW max_connections") == "33"


def test_another_port_and_back(host, provision):
    assert provision(mission_control_postgresql_port=5440).returncode == 0
    assert host.socket("tcp://127.0.0.1:5440").is_listening
    assert provision().returncode == 0
    assert host.socket("tcp://127.0.0.1:5432").is_listening
    assert not host.socket("tcp://127.0.0.1:5440").is_listening


def test_other_hosts_come_in_only_where_asked_for(host, provision):
    wanted = {
        "mission_control_postgresql_listen_addresses": ["*"],
        "mission_control_postgresql_client_networks": ["192.0.2.0/24"],
    }
    assert provision(**wanted).returncode == 0
    rules = as_administrator(
        host,
        "SELECT type, database, user_name, address, auth_method FROM pg_hba_file_rules WHERE address = '192.0.2.0'",
    )
    assert rules == "hostssl|{mission_control}|{mission_control}|192.0.2.0|scram-sha-256"
    assert provision().returncode == 0
    assert host.socket("tcp://127.0.0.1:5432").is_listening
    assert not host.socket("tcp://0.0.0.0:5432").is_listening


def test_what_starts_at_boot_is_put_right(host, provision):
    host.check_output("systemctl disable postgresql.service")
    assert provision().changed == 1
    assert host.service("postgresql").is_enabled


@pytest.mark.usefixtures("provisioned")
def test_a_link_in_the_place_of_a_file_is_one_sentence_and_leads_root_nowhere(host, refusal):
    drop_in = f"{CONFIGURATION}/conf.d/mission_control.conf"
    host.check_output("echo 'port = 9' >/root/secret && chmod 0600 /root/secret")
    host.check_output(f"runuser -u postgres -- ln --symbolic --force /root/secret {drop_in}")
    assert f"{drop_in} (a link to /root/secret) cannot be read: Permission denied." in refusal()
    assert host.check_output("cat /root/secret") == "port = 9"
    host.check_output(f"rm {drop_in}")


@pytest.mark.usefixtures("provisioned")
def test_the_administrators_own_way_in_stays(host, provision, refusal):
    """Another operating-system user is let in as postgres, then nobody without a password."""
    hba, ident = f"{CONFIGURATION}/pg_hba.conf", f"{CONFIGURATION}/pg_ident.conf"
    host.check_output(f"cp --preserve {hba} {hba}.kept && cp --preserve {ident} {ident}.kept")
    try:
        host.check_output(f"sed -i -E 's/^local +all +postgres +peer$/& map=admins/' {hba}")
        host.check_output(f"printf 'admins postgres postgres\\nadmins root postgres\\n' >>{ident}")
        outcome = provision()
        assert outcome.returncode == 0, outcome.output
        assert provision().changed == 0
        assert host.check_output("psql -U postgres -Atc 'SELECT 1'") == "1"
        host.check_output(f"sed -i -E 's/^local +all +(postgres|all) .*/local all \\1 scram-sha-256/' {hba}")
        host.check_output("pg_ctlcluster 17 main reload && sleep 1")
        before = state(host)
        # Printed as YAML, in which a quote in quotes is doubled.
        assert "add the line 'local all postgres peer' before all others" in refusal().replace("''", "'")
        assert state(host) == before
    finally:
        host.check_output(f"mv {hba}.kept {hba} && mv {ident}.kept {ident} && pg_ctlcluster 17 main reload")


def test_a_creation_that_was_killed_is_done_again(host, provision):
    """What a kill in the middle of initdb leaves: a directory that is half filled, and the role's note."""
    host.check_output("pg_dropcluster --stop 17 main")
    half = f"mkdir --parents {DATA} {CONFIGURATION} && echo 17 >{DATA}/PG_VERSION"
    host.check_output(f"runuser -u postgres -- sh -c '{half}'")
    assert provision().returncode != 0, "data that nobody knows is not removed"
    host.check_output("printf 17/main >/var/lib/misc/mission_control-creating")
    outcome = provision()
    assert outcome.returncode == 0, outcome.output
    assert as_administrator(host, "SHOW data_checksums") == "on"
    assert not host.file("/var/lib/misc/mission_control-creating").exists
    assert provision().changed == 0
