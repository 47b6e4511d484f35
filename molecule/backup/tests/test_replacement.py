"""The machine is gone: what it archived is restored on one that has nothing but the second repository, by runs of which some are killed."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess

import pytest
import yaml
from secrets_on_host import Known, files_with, journal, misplaced

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_RESTORE_KILLS", "2"))
# In seconds from the beginning of a run; a whole one takes about a minute.
EARLIEST, LATEST = 2, 25
REPOSITORY = "/srv/nas"


@pytest.fixture(scope="module")
def gone(clusters):
    """The host whose backups are used."""
    [_, each] = clusters
    return each


@pytest.fixture(scope="module")
def variables(scenario, gone):
    """Those of the one that is gone."""
    return yaml.safe_load((scenario / "inventory/hosts.yml").read_text())["mission_control"]["hosts"][gone.name]


@pytest.fixture(scope="module")
def inventory(variables, replacement, tmp_path_factory):
    """An inventory in which the new machine is in the group, with these variables."""
    file = tmp_path_factory.mktemp("inventory") / "hosts.json"
    file.write_text(json.dumps({"mission_control": {"hosts": {replacement.name: variables}}}))
    return ("--inventory", str(file))


def take_the_repository(gone, replacement):
    """As a NAS that is mounted on another machine."""
    replacement.host.check_output(f"mkdir -p {REPOSITORY}")
    podman = ["podman", "exec", "--interactive"]
    read = [*podman, gone.host.backend.name, "tar", "-C", REPOSITORY, "--numeric-owner", "-cf", "-", "."]
    write = [*podman, replacement.host.backend.name, "tar", "-C", REPOSITORY, "--numeric-owner", "-xpf", "-"]
    with subprocess.Popen(read, stdout=subprocess.PIPE) as reader:
        subprocess.run(write, stdin=reader.stdout, check=True)
    assert reader.returncode == 0


def leave_apt_at_work(machine):
    """As on the host of a run that was killed on the controller: pgBackRest is unpacked and not configured, and apt's lock is taken for a while."""
    listed = machine.host.check_output("apt-get install --simulate --no-install-recommends pgbackrest")
    packages = re.findall(r"^Inst (\S+)", listed, re.MULTILINE)
    archives = " ".join(f"/var/cache/apt/archives/{name}_*.deb" for name in packages)
    machine.host.check_output(f"DEBIAN_FRONTEND=noninteractive dpkg --unpack {archives}")
    assert machine.host.file("/usr/bin/pgbackrest").exists
    assert not machine.host.user("postgres").exists
    lock = (
        "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(8)"
    )
    machine.host.check_output("systemd-run --unit=apt-at-work python3 -c %s", lock)


def test_the_repository_is_all_that_a_new_machine_needs(
    gone, replacement, variables, inventory, restore, run_playbook, healthy_hosts, project
):
    first = max(gone.counted(), default=0) + 1
    gone.write(first, first + 9)
    gone.archive()
    expected = gone.counted()
    take_the_repository(gone, replacement)
    leave_apt_at_work(replacement)
    seed = int(os.environ.get("MISSION_CONTROL_ATTACK_SEED", random.SystemRandom().randrange(2**32)))
    print(f"MISSION_CONTROL_ATTACK_SEED={seed}")
    dice = random.Random(seed)
    hits = 0
    for _ in range(10 * KILLS):
        run = restore([replacement], *inventory, kill_after=dice.uniform(EARLIEST, LATEST), repository=2)
        if run.returncode < 0:
            hits += 1
        else:
            assert run.returncode == 0, run.output
            # It was done before it was to be killed: begin anew.
            replacement.host.check_output("pg_dropcluster --stop 17 main")
        if hits == KILLS:
            break
    assert hits == KILLS, "hardly a kill meets a restore"
    run = restore([replacement], *inventory)
    assert "but repository 2 does: set mission_control_backup_restore_repository to 2" in " ".join(run.output.split())
    run = restore([replacement], *inventory, "-vvv", "--diff", repository=2)
    assert run.returncode == 0, run.output
    assert re.search("kept heads? belongs? to", run.output)
    secrets = {"cipher": Known(variables["mission_control_backup_cipher_password"], ("/etc/pgbackrest/",))}
    files = files_with(replacement.host, [secrets["cipher"].value])
    assert files
    assert misplaced(secrets, {"output": run.output, "journal": journal(replacement.host), **files}) == []
    assert replacement.counted() == expected
    assert replacement.logged() == expected

    # It goes on as the one that is gone did: with its logins, settings and backups.
    limit = ("--limit", replacement.name)
    run = run_playbook(project / "site.yml", *inventory, *limit)
    assert run.returncode == 0, run.output
    assert healthy_hosts(run.output) == 1
    again = run_playbook(project / "site.yml", *inventory, *limit)
    assert (again.returncode, again.changed) == (0, 0), again.output
    replacement.write(first + 10, first + 10)
    replacement.archive()
    replacement.run("mission-control-backup", "incr")
    assert replacement.kept_backups()[-1]["type"] == "incr"
    assert replacement.sql("SELECT valid FROM verify_audit_chain()") == "t"


def test_removing_the_database_stops_the_backups_and_keeps_what_they_have(
    replacement, inventory, run_playbook, project
):
    confirmed = ("--extra-vars", "mission_control_database_remove_confirm=mission_control")
    run = run_playbook(project / "playbooks/remove.yml", *inventory, "--limit", replacement.name, *confirmed)
    assert run.returncode == 0, run.output
    assert (
        replacement.host.check_output("systemctl list-units --all --plain --no-legend 'mission-control-backup*'") == ""
    )
    assert replacement.host.check_output("find /etc/systemd/system -name 'mission-control-backup*'") == ""
    replacement.host.check_output("pg_ctlcluster 17 main restart")
    assert replacement.run("psql", "-XAtqc", "SHOW archive_mode") == "off"
    assert (
        replacement.run("psql", "-XAtqc", "SELECT count(*) FROM pg_database WHERE datname = 'mission_control'") == "0"
    )
    assert replacement.kept_backups()
