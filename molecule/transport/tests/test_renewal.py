"""Certificates and passwords are changed under load, and nobody who holds what is valid notices."""

from __future__ import annotations

import json

import pytest
from sql_on_host import as_administrator

testinfra_hosts = ["server"]
STARTED = "SELECT pg_postmaster_start_time()"
CERTIFICATES = "/etc/mission-control/postgresql"


@pytest.fixture(scope="module")
def provision(run_playbook, scenario):
    """Run the scenario's playbook for one of its hosts."""

    def run(limit, *arguments, **variables):
        named = ["--limit", limit, "--extra-vars", json.dumps(variables)]
        return run_playbook(scenario / "converge.yml", *named, *arguments)

    return run


class Writers:
    """The program that writes all the time, on the client."""

    def __init__(self, client, server, name, *arguments):
        self._client, self._server, self._name = client, server, name
        self._directory = f"/run/{name}"
        self._command = " ".join(
            ["systemd-run", "--quiet", "--collect", f"--unit={name}", "write-all-the-time", self._directory, *arguments]
        )

    def _lines(self, file):
        return self._client.check_output(f"cat {self._directory}/{file} 2>/dev/null || true").splitlines()

    def __enter__(self):
        self._client.check_output(f"rm -rf {self._directory} && mkdir {self._directory} && {self._command}")
        self._wait_for_more()
        return self

    def __exit__(self, *error):
        if error[0] is None:
            self._wait_for_more()
        self._client.check_output(
            f"touch {self._directory}/stop && while systemctl --quiet is-active {self._name}; do sleep 0.1; done"
        )

    def _wait_for_more(self):
        """Until each of them has written after this moment."""
        noted = f"{self._directory}/committed"
        enough = self.count + 50
        waiting = f"until [ $(wc --lines <{noted}) -ge {enough} ]; do sleep 0.1; done"
        self._client.check_output("touch %s && timeout 60 sh -c %s", noted, waiting)

    @property
    def failed(self):
        return self._lines("failed")

    @property
    def lost(self):
        """What a writer was told is committed and is not there."""
        there = as_administrator(self._server, f"SELECT title FROM tasks WHERE title LIKE '{self._name} %'", "lab")
        return set(self._lines("committed")) - set(there.splitlines())

    @property
    def count(self):
        return len(self._lines("committed"))


@pytest.fixture
def writers(client, server):
    return lambda name, *arguments: Writers(client, server, name, *arguments)


def number_in_use(server):
    return int(as_administrator(server, "SHOW ssl_cert_file").rpartition("-")[2].removesuffix(".crt"))


def test_a_certificate_is_renewed_under_load_without_a_restart(writers, provision, server, client, serial):
    before, started, number = serial(), as_administrator(server, STARTED), number_in_use(server)
    authority = server.file(f"{CERTIFICATES}/ca.crt").content_string
    soon = {"mission_control_postgresql_tls_days": 30, "mission_control_postgresql_tls_renew_days": 10}
    with writers("renewal", "--new-connections") as writing:
        run = provision("server", "--tags", "server", **soon, mission_control_postgresql_tls_renew=True)
        assert run.returncode == 0, run.output
        assert serial() != before
        before = serial()
        # It ends within the days that are the default, so the next run makes another one. A dry run says so.
        foreseen = provision("server", "--tags", "server", "--check", "--diff")
        assert foreseen.returncode == 0, foreseen.output
        assert "since the present one expires on" in foreseen.output
        assert serial() == before
        run = provision("server", "--tags", "server")
        assert run.returncode == 0, run.output
        assert serial() != before
    assert provision("server", "--tags", "server").changed == 0
    assert as_administrator(server, STARTED) == started
    assert (writing.failed, writing.lost) == ([], set())
    assert writing.count > 300
    assert number_in_use(server) == number + 2
    pair = [f"server-{number + 2}.crt", f"server-{number + 2}.key"]
    assert server.check_output(f"ls {CERTIFICATES}").split() == ["ca.crt", "ca.key", *pair]
    assert server.file(f"{CERTIFICATES}/ca.crt").content_string == authority
    assert "SSL configuration was not reloaded" not in server.check_output("cat /var/log/postgresql/*-17-main.log")


def test_a_reload_that_a_killed_run_left_out_is_made_up_for(provision, server, serial, run_module):
    """The drop-in names the next pair, as of a run that was killed then; its date does not tell."""
    before, number = serial(), number_in_use(server)
    names = run_module("cluster_info", {"port": 5432}, "root").result["certificates"]["pairs"][0]["names"]
    made = run_module("server_certificate", {"directory": CERTIFICATES, "number": number + 1, "names": names}, "root")
    assert made.result["changed"], made.output
    drop_in = "/etc/postgresql/17/main/conf.d/mission_control.conf"
    server.check_output(
        f"sed -i 's/server-{number}\\./server-{number + 1}./' {drop_in} && touch --date='1 hour ago' {drop_in}"
    )
    assert serial() == before
    written = server.file(drop_in).mtime
    run = provision("server", "--tags", "server")
    assert run.returncode == 0, run.output
    assert serial() != before
    assert number_in_use(server) == number + 1
    assert server.file(drop_in).mtime == written, "a reload was enough"


def test_a_changed_password_is_one_change_and_works_at_once(provision, psql):
    new = psql.but(password="another-password")
    assert "password authentication failed" in new.refusal()
    run = provision("server", "--tags", "database", mission_control_database_password="another-password")
    assert (run.returncode, run.changed) == (0, 1), run.output
    assert "another-password" not in run.output
    assert new.value("SELECT 1") == "1"
    assert "password authentication failed" in psql.refusal()
    again = provision("server", "--tags", "database", mission_control_database_password="another-password")
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert provision("server", "--tags", "database").changed == 1
    assert psql.value("SELECT 1") == "1"


def test_a_password_is_changed_under_load_and_no_statement_fails(writers, provision):
    with writers("rotation") as writing:
        for password in ("rotated-once", "lab-password"):
            run = provision("client", "--tags", "database", mission_control_database_password=password)
            assert (run.returncode, run.changed) == (0, 2), run.output  # the login and the env file
    assert (writing.failed, writing.lost) == ([], set())
    assert writing.count > 200
