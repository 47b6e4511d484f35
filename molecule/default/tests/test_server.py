"""The server as the host's owner finds it: the distribution's version, closed to the outside, with nothing left pending."""

from __future__ import annotations

import pytest
from sql_on_host import as_administrator

VERSIONS = {"debian12": 15, "debian13": 17, "no-systemd": 15}


@pytest.fixture(scope="module")
def name(host):
    return host.check_output("hostname")


def test_version_is_the_distributions(host, name):
    assert int(as_administrator(host, "SHOW server_version_num")) // 10000 == VERSIONS[name]


def test_listens_on_localhost_only(host):
    lines = host.check_output("ss --listening --tcp --numeric --no-header sport = :5432").splitlines()
    addresses = {line.split()[3].rpartition(":")[0] for line in lines}
    assert addresses
    assert addresses <= {"127.0.0.1", "[::1]"}


def test_settings_are_in_force(host):
    wanted = {
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "password_encryption": "scram-sha-256",
        "fsync": "on",
        "full_page_writes": "on",
    }
    names = ", ".join(f"'{name}'" for name in wanted)
    rows = as_administrator(host, f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")
    assert dict(row.split("|") for row in rows.splitlines()) == wanted


def test_every_line_of_the_configuration_is_in_force(host):
    assert as_administrator(host, "SELECT name FROM pg_settings WHERE pending_restart") == ""
    faults = "SELECT sourcefile, sourceline, name, error FROM pg_file_settings WHERE error IS NOT NULL"
    assert as_administrator(host, faults) == ""
    dropped_in = "SELECT count(*) FROM pg_settings WHERE sourcefile LIKE '%/conf.d/%mission%'"
    assert int(as_administrator(host, dropped_in)) >= 5


def test_client_authentication_is_readable_and_scram_only(host):
    assert as_administrator(host, "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""
    methods = as_administrator(host, "SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE type <> 'local'")
    assert set(methods.splitlines()) <= {"scram-sha-256", "reject"}
    anyone = """
        SELECT line_number FROM pg_hba_file_rules
        WHERE auth_method = 'trust' OR (auth_method <> 'reject' AND address IN ('all', '0.0.0.0', '::', 'samenet'))
    """
    assert as_administrator(host, anyone) == ""


def test_configuration_is_not_for_everybody(host):
    files = host.check_output("find /etc/postgresql -name pg_hba.conf").splitlines()
    assert len(files) == 1
    configuration = host.file(files[0])
    assert configuration.user == "postgres"
    assert configuration.mode == 0o640


def test_one_cluster_is_online(host):
    assert [line.split()[3] for line in host.check_output("pg_lsclusters --no-header").splitlines()] == ["online"]


def test_service_is_enabled_and_logs_no_error(host, name):
    if name == "no-systemd":
        assert not host.run("systemctl is-system-running").stdout.startswith(("running", "degraded"))
        return
    assert host.service("postgresql").is_enabled
    assert host.service("postgresql").is_running
    assert host.check_output("systemctl list-units --state failed --plain --no-legend 'postgresql*'") == ""
    journal = host.check_output("journalctl --boot --quiet --no-pager --priority err --unit 'postgresql*'")
    assert journal == ""
