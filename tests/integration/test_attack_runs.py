"""Real runs of playbooks, killed with all that they have started, and many at once.

MISSION_CONTROL_ATTACK_KILLS is the number of kills of each kind that really hit a run; MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import mission_control_database as layer
import pytest
from attack_seed import attack_seed
from database_lab import ADMINISTRATOR_PASSWORD, DatabaseLab, prepare_cluster
from playbook import ROOT, PlaybookRun, playbook_command, run_playbook
from processes import kill_with_descendants
from test_attack_kills import check_rows, check_what_is_left, copy, field, invalid_indexes, state
from throwaway_cluster import ThrowawayCluster

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_PLAYBOOK_KILLS", "1"))
RUNS_AT_ONCE = 8
__all__ = ["field"]


@pytest.fixture(scope="module")
def site(field, tmp_path_factory):
    """Directory of the site-local migrations that the field knows."""
    directory = tmp_path_factory.mktemp("own")
    for file in field.files:
        if file.origin == "site":
            (directory / file.name).write_text(file.body, encoding="utf-8")
    with contextlib.closing(layer.Session(field.cluster.connect())) as admin:
        admin.run(f"ALTER ROLE postgres PASSWORD '{ADMINISTRATOR_PASSWORD}'")
    return directory


def variables(field, database, site, administrator="postgres"):
    return {
        "mission_control_postgresql_mode": "existing",
        "mission_control_login_host": "127.0.0.1",
        "mission_control_postgresql_port": field.cluster.port,
        "mission_control_login_user": administrator,
        "mission_control_login_password": "keeper" if administrator == "keeper" else ADMINISTRATOR_PASSWORD,
        "mission_control_database_name": database.name,
        "mission_control_schema_site_directory": str(site),
    }


def dice_of(name):
    return random.Random(f"{attack_seed()} {name}")


def killed(playbook, chosen, home, wait):
    """Start a run and kill it after a time, with all that it has started; False where it had ended before."""
    command, environment = playbook_command(playbook, chosen, home=home)
    with open(home / "killed.log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            kill_with_descendants(process.pid)
        return process.wait() < 0


@pytest.mark.parametrize("kind", ["empty", "upgrade"])
def test_a_killed_playbook_leaves_a_state_between_two_migrations(field, site, tmp_path, kind):
    dice = dice_of(kind)
    seen, hits = set(), 0
    database = copy(field, kind, f"measured_{kind}")
    began = time.monotonic()
    run_playbook("playbooks/migrate.yml", variables(field, database, site), home=tmp_path).succeeded()
    duration = time.monotonic() - began
    database.drop()
    for number in itertools.count():
        administrator = dice.choice(["postgres", "keeper"])
        database = copy(field, kind, f"played_{kind}", administrator)
        chosen = variables(field, database, site, administrator)
        # It takes Ansible a moment to reach the database at all.
        hit = killed("playbooks/migrate.yml", chosen, tmp_path, duration * (0.2 + 0.8 * dice.random()))
        where = check_what_is_left(field, kind, database)
        run_playbook("playbooks/migrate.yml", chosen, home=tmp_path).succeeded()
        assert state(database) == field.states[kind][-1], number
        assert invalid_indexes(database) == 0
        assert run_playbook("playbooks/migrate.yml", chosen, home=tmp_path).succeeded().recap["changed"] == 0
        check_rows(field, kind, database)
        database.drop()
        if hit:
            seen.add(where)
            hits += 1
        if hits >= KILLS:
            break
        assert number < 10 * KILLS, "hardly a kill meets a run"
    print(f"playbook, {kind}: {hits} of {number + 1} kills met a run, in the states {sorted(seen)}")


def run_patiently(chosen, home):
    """A run that has the time to wait for all others, also on a busy machine."""
    command, environment = playbook_command("playbooks/migrate.yml", chosen, home=home)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    return PlaybookRun(done.returncode, done.stdout + done.stderr, {})


def test_runs_at_once_apply_everything_once_and_make_what_one_run_makes(field, site, tmp_path):
    database = copy(field, "upgrade", "at_once")
    homes = [tmp_path / f"controller{number}" for number in range(RUNS_AT_ONCE)]
    for home in homes:
        home.mkdir()
    chosen = {**variables(field, database, site), "mission_control_schema_wait": 600}
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        runs = list(pool.map(lambda home: run_patiently(chosen, home), homes))
    assert [run.returncode for run in runs] == [0] * RUNS_AT_ONCE, [run.sentence for run in runs]
    assert state(database) == field.states["upgrade"][-1]
    check_rows(field, "upgrade", database)
    replaced = "SELECT count(DISTINCT run_id) FROM schema_repeatables WHERE name <> 'grants'"
    assert database.session("admin").value(replaced) == 1
    database.close()
    assert run_playbook("playbooks/migrate.yml", chosen, home=tmp_path).succeeded().recap["changed"] == 0
    database.drop()


@pytest.fixture(scope="module")
def bare_cluster():
    """A server without any of our roles, with administrators who are superusers and who are not."""
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


def test_a_killed_provisioning_is_finished_by_the_next(bare_cluster, site, tmp_path):
    """Roles, database, passwords, privileges and schema, without the packages: the kept password is the one that the server has."""
    dice = dice_of("provisioning")
    hits = 0
    duration = None
    for number in itertools.count():
        home = tmp_path / f"controller{number}"
        home.mkdir()
        lab = DatabaseLab(bare_cluster, home, dice.choice(["postgres", "keeper"]))
        chosen = {
            **lab.variables,
            "mission_control_postgresql_mode": "existing",
            "mission_control_schema_site_directory": str(site),
            "mission_control_database_monitor_memberships": [],
        }
        if duration is None:
            began = time.monotonic()
            run_playbook("playbooks/provision.yml", chosen, home=home).succeeded()
            duration = time.monotonic() - began
            continue
        hit = killed("playbooks/provision.yml", chosen, home, duration * (0.1 + 0.9 * dice.random()))
        run_playbook("playbooks/provision.yml", chosen, home=home).succeeded()
        assert run_playbook("playbooks/provision.yml", chosen, home=home).succeeded().recap["changed"] == 0
        assert lab.log_in(lab.file.read_text().strip()) == lab.roles["application"]
        members = "SELECT count(*) FROM pg_auth_members WHERE pg_has_role(%s, roleid, 'USAGE') AND roleid IN (%s::regrole, %s::regrole)"
        if lab.user != "postgres":
            assert lab.query(members, [lab.user, lab.roles["owner"], lab.roles["audit"]]) == [(0,)]
        hits += hit
        if hits >= KILLS:
            break
        assert number < 10 * KILLS + 1, "hardly a kill meets a run"
    print(f"provisioning: {hits} of {number} kills met a run")
