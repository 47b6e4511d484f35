"""The network is cut, so that packets vanish and nobody is told: between application and database, and between controller and host."""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest
from fault_tools import LOST, SESSIONS, SITE_TABLES, SLEEPING, SLOW, address, sentence, writing


@contextlib.contextmanager
def cut(host, other: str, port: str = ""):
    """No packet comes from the other address or reaches it."""
    to = f"--protocol tcp --dport {port}" if port else ""
    back = f"--protocol tcp --sport {port}" if port else ""
    rules = [f"INPUT --source {other} {to} --jump DROP", f"OUTPUT --destination {other} {back} --jump DROP"]
    for rule in rules:
        host.check_output(f"iptables --insert {rule}")
    try:
        yield
    finally:
        for rule in rules:
            host.check_output(f"iptables --delete {rule}")


def test_an_application_is_told_and_goes_on_when_the_network_is_back(database, application, query, eventually):
    peer = address(application)
    with writing(application, address(database), 5432, "cut-off", query) as writer:
        with cut(database, peer):
            eventually(lambda: len(writer.failures()) >= 2)
            # What it held is given back, so that nobody else waits for it.
            eventually(lambda: query(f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{peer}'") == "0")
        writer.goes_on()
    errors = {note["error"] for note in writer.failures()}
    assert errors <= LOST
    # Who waited for less than an attempt to connect takes knows the state of the pool only.
    texts = [note["text"] for note in writer.failures()]
    assert all("mission_control on" in text or "of at most 20" in text for text in texts), texts
    assert any("mission_control on" in text for text in texts)


@pytest.fixture
def over_ssh(database, tmp_path, eventually):
    """Variables with which Ansible reaches the host over SSH, as it reaches a machine."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    database.check_output("install --directory --mode 0700 /root/.ssh")
    database.check_output("printf %%s %s >/root/.ssh/authorized_keys", key.with_suffix(".pub").read_text())
    database.check_output("systemctl start ssh")
    return {
        "ansible_connection": "ssh",
        "ansible_host": address(database),
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_control_path_dir": str(tmp_path),
    }


def test_a_run_whose_host_is_cut_off_ends_and_leaves_nothing_half_done(
    database, query, site, migrate, over_ssh, in_background, eventually
):
    variables = {**site(SLOW.format(seconds=5)), **over_ssh}
    controller = database.check_output("ip route show default").split()[2]
    run = in_background(migrate, variables)
    eventually(lambda: query(SLEEPING) == "1")
    with cut(database, controller, "22"):
        outcome = run.result()
        assert outcome.returncode != 0
        assert "UNREACHABLE" in outcome.output
        eventually(lambda: query(SESSIONS) == "0")
        assert query(SITE_TABLES) in ("0", "2"), "what was begun on the host is done as a whole, or not at all"
    again = migrate(variables)
    assert again.returncode == 0, again.output
    assert query(SITE_TABLES) == "2"
    assert migrate(variables).changed == 0


def test_a_run_whose_database_is_cut_off_gives_its_lock_back(
    database, application, query, site, run_playbook, project, in_background, eventually, tmp_path
):
    """The tasks run on the application's host, and connect to the server from there."""
    query("ALTER ROLE postgres PASSWORD 'administrator'")
    hba = "/etc/postgresql/15/main/pg_hba.conf"
    database.check_output(
        f"cp --preserve {hba} /root/pg_hba.conf && sed -i '1i host all postgres samenet scram-sha-256' {hba}"
    )
    query("SELECT pg_reload_conf()")
    variables = {
        **site(SLOW.format(seconds=5)),
        "mission_control_postgresql_mode": "existing",
        "mission_control_login_host": address(database),
        "mission_control_login_password": "administrator",
    }
    playbook = tmp_path / "migrate.yml"
    playbook.write_text(
        (project / "playbooks/migrate.yml").read_text().replace("mission_control\n", "application\n", 1)
    )

    def migrate():
        return run_playbook(playbook, "--extra-vars", json.dumps(variables))

    try:
        run = in_background(migrate)
        eventually(lambda: query(SLEEPING) == "1")
        with cut(database, address(application), "5432"):
            eventually(lambda: query(SESSIONS) == "0")
            assert query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
        outcome = run.result()
        assert outcome.returncode != 0
        assert "Traceback" not in outcome.output
        assert sentence(outcome)
        assert query(SITE_TABLES) in ("0", "2")
        again = migrate()
        assert again.returncode == 0, again.output
        assert migrate().changed == 0
    finally:
        database.check_output(f"cp --preserve /root/pg_hba.conf {hba}")
        query("SELECT pg_reload_conf()")
