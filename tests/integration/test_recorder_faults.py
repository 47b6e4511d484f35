"""Recorded plays whose database, spool or process something happens to: the plays are the same, and no event is lost or comes twice.

MISSION_CONTROL_ATTACK_RECORDER_KILLS is the number of kills that really hit a recorded run; MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter

import mission_control_database as layer
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import KILLED, TOO_OLD, load_spool
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations
from attack_seed import attack_seed
from library_client import client_of
from processes import descendants, kill_with_descendants, wait_for
from recorder_lab import url_of
from recorder_plays import NOWHERE, RecordedPlays, loaders_of
from recorder_spools import SpoolKeeper, events_of, stored_events
from restartable_cluster import RestartableCluster

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_RECORDER_KILLS", "3"))
PLAYS_AT_ONCE = 32
LOADER_SECONDS = 0.15
BEFORE_PLAYBOOK_RUNS = 10  # migrations
HOSTS = [f"host{number}" for number in range(4)]
SAY = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }}"}}
GATES = 3


def some_tasks(part):
    fail = {"ansible.builtin.fail": {"msg": "on purpose"}}
    return [
        {"name": f"Change in part {part}", **SAY, "changed_when": True, "notify": "Handler"},
        {"name": f"Ignored in part {part}", **fail, "ignore_errors": True, "when": "inventory_hostname == 'host1'"},
        {"block": [{"name": f"Rescued in part {part}", **fail}], "rescue": [{"name": "Rescue", **SAY}]},
    ]


def gate(number):
    """A task that the play waits at until the test has made a file."""
    path = f"{{{{ playbook_dir }}}}/gate{number}"
    return {"name": f"Gate {number}", "ansible.builtin.wait_for": {"path": path, "timeout": 120}, "run_once": True}


PLAYBOOK = [
    {
        "name": "Gates",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            *(task for number in range(GATES) for task in (*some_tasks(number), gate(number))),
            {"name": "The last one", **SAY, "failed_when": "inventory_hostname == 'host2'"},
        ],
        "handlers": [{"name": "Handler", **SAY}],
    }
]


# Of a few seconds, in which something is written all the time.
BUSY = [
    {
        "name": "Busy",
        "hosts": "all",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [{"name": f"Task {number}", **SAY} for number in range(8)],
    }
]
MANY_HOSTS = [f"host{number}" for number in range(12)]
FAILED = ("failed", "host2 failed at the task: The last one")


class Lab(RecordedPlays):
    """A playbook that can be held at its gates, and a database of its own."""

    def __init__(self, home, database=None, plays=PLAYBOOK, hosts=HOSTS):
        super().__init__(home, hosts)
        self.playbook = self.write("site.yml", json.dumps(plays))
        self.database = database
        self.url = url_of(database) if database else None
        self._processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        """Leave no process behind, whatever has happened."""
        for process in self._processes:
            if process.poll() is None:
                kill_with_descendants(process.pid)
                process.communicate()
        kill_loaders(self, None)

    def start(self, playbook, **options):
        self._processes.append(super().start(playbook, **options))
        return self._processes[-1]

    def open_gates(self, *numbers):
        for number in numbers or range(GATES):
            (self.home / f"gate{number}").touch()

    def start_with_loader(self, **options):
        """Start the play, and let it go on to the second gate when it is old enough to be loaded meanwhile."""
        process = self.start(self.playbook, **{"url": self.url, **options})
        wait_for(lambda: self.files, 60)
        time.sleep(2.1)
        self.open_gates(0)
        wait_for(self.loaders, 60)
        return process

    def finish(self, process):
        """What a user sees of it: exit code and output, as they are in any home. Which host is first is a matter of chance."""
        output, _nothing = process.communicate(timeout=300)
        return process.returncode, sorted(output.replace(str(self.home), "~").splitlines())

    def loaders(self):
        return loaders_of(self.spool)

    def wait_for_loaders(self):
        wait_for(lambda: not self.loaders(), 120)

    def written(self):
        return "".join(path.read_text(encoding="utf-8") for path in self.files)

    def log(self):
        """What loaders have noted."""
        file = self.spool / "loader.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def check(self, keeper):
        """Load by hand what loaders have left, and compare the database with all that was written; returns status and error of each run."""
        self.wait_for_loaders()
        with client_of(self.database, pool_size=1) as client:
            result = load_spool(client, str(self.spool))
        assert (result.problems, result.left, self.files) == ([], [], [])
        session = self.database.session("application")
        runs = session.rows("SELECT id::text, status, error, dropped_events FROM playbook_run_overview")
        written = {run: lines for run, lines in keeper.lines().items() if lines}
        assert {run["id"] for run in runs} == set(written)
        for run in runs:
            lines = written[run["id"]]
            assert stored_events(session, run["id"]) == events_of(lines)
            end = lines[-1].get("end", {"status": "failed", "error": KILLED, "dropped": 0})
            assert (run["status"], run["error"]) == (end["status"], end["error"])
            # A kill may come in the middle of a line.
            assert run["dropped_events"] - end["dropped"] in ((0,) if "end" in lines[-1] else (0, 1))
        self.database.close()
        return [(run["status"], run["error"]) for run in runs]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What a user sees of the play without the callback."""
    with Lab(tmp_path_factory.mktemp("usual")) as lab:
        lab.open_gates()
        seen = lab.finish(lab.start(lab.playbook, ANSIBLE_CALLBACKS_ENABLED="ansible.builtin.default"))
    assert (seen[0], lab.spool.exists()) == (2, False)
    return seen


@pytest.fixture
def lab(database, tmp_path):
    with Lab(tmp_path, database) as lab:
        yield lab


@pytest.fixture
def old_database(cluster, template):
    """As it is before the migration that makes the tables of playbook runs."""
    database = layer.create_database(cluster, "mission_control_before_playbook_runs")
    layer.apply_privileges(database)
    layer.apply_migrations(database, read_migrations(str(layer.SQL / "migrations"))[:BEFORE_PLAYBOOK_RUNS])
    layer.apply_privileges(database)
    yield database
    database.drop()


@pytest.fixture
def answers(lab, old_database):
    """Addresses at which the database takes nothing, each with what is noted of it."""
    user = layer.ROLES["application"]
    lab.database.session("admin").run(f"ALTER ROLE {user} PASSWORD 'the right one'")
    return {
        "down": (NOWHERE, "Cannot connect to the database "),
        "missing": (lab.url.replace(lab.database.name, "not_there"), '"not_there" does not exist'),
        # Over TCP the server asks for it.
        "wrong password": (
            f"postgresql://{user}@127.0.0.1:{lab.database.cluster.port}/{lab.database.name}",
            "password authentication failed",
        ),
        "schema too old": (url_of(old_database), TOO_OLD),
    }


@pytest.mark.parametrize("fault", ["down", "missing", "wrong password", "schema too old"])
def test_a_play_is_the_same_where_the_database_takes_nothing_of_it(lab, usual, answers, fault):
    url, sentence = answers[fault]
    password = lab.home / "password"
    password.write_text("the wrong one\n", encoding="ascii")
    with SpoolKeeper(lab.spool) as keeper:
        process = lab.start_with_loader(url=url, password_file=str(password))
        wait_for(lambda: sentence in lab.log())
        lab.open_gates()
        assert lab.finish(process) == usual
        lab.wait_for_loaders()
        assert "one" not in lab.log().split()
        assert len(lab.files) == 1
        assert lab.check(keeper) == [FAILED]


@pytest.fixture(scope="module")
def own_template():
    """A database with the whole schema on a server that may be stopped."""
    with RestartableCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "own_template")
        layer.provision(database)
        database.close()
        yield database


@pytest.fixture
def own_lab(own_template, tmp_path):
    database = layer.create_database(own_template.cluster, "own", own_template.name)
    with Lab(tmp_path, database) as lab:
        yield lab
    database.drop()


def is_loaded_in_part(lab):
    with contextlib.closing(layer.Session(lab.database.cluster.connect(lab.database.name))) as session:
        return session.value("SELECT count(*) FROM task_events") > 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_stopped_and_started_during_a_play_gets_all_of_it(own_lab, usual, mode):
    lab, cluster = own_lab, own_lab.database.cluster
    with SpoolKeeper(lab.spool) as keeper:
        process = lab.start_with_loader()
        wait_for(lambda: is_loaded_in_part(lab))
        cluster.stop(mode)
        lab.open_gates(1)
        wait_for(lambda: "Gate 2" in lab.written(), 60)
        wait_for(lab.log, 60)
        cluster.start()
        lab.open_gates(2)
        assert lab.finish(process) == usual
        lab.wait_for_loaders()
        assert lab.files == []  # without anybody's help
        cluster.stop(mode)
        cluster.start()
        assert lab.check(keeper) == [FAILED]


def test_a_server_that_is_frozen_during_a_play_does_not_hold_it_up(own_lab, usual):
    lab, server = own_lab, own_lab.database.cluster.pid
    with SpoolKeeper(lab.spool) as keeper:
        process = lab.start_with_loader()
        wait_for(lambda: is_loaded_in_part(lab))
        frozen = [server, *descendants(server)]
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        try:
            lab.open_gates()
            assert lab.finish(process) == usual
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)
        lab.wait_for_loaders()
        assert lab.files == []
        assert lab.check(keeper) == [FAILED]


def test_a_play_is_the_same_where_its_file_reaches_its_limit(lab, usual):
    lab.open_gates()
    with SpoolKeeper(lab.spool) as keeper:
        assert lab.finish(lab.start(lab.playbook, url=lab.url, max_bytes="8192")) == usual
        assert lab.check(keeper) == [FAILED]
        (lines,) = keeper.lines().values()
    assert lines[-1]["end"]["dropped"] > 0
    assert sum("host" in line for line in lines) == len(HOSTS)


def test_a_play_is_the_same_where_the_disk_is_full_in_its_middle(lab, usual):
    """The kernel takes the beginning of a line and refuses the rest, as with a disk without room."""
    with SpoolKeeper(lab.spool) as keeper:
        process = lab.start_with_loader()
        lab.open_gates()
        wait_for(lambda: "Gate 2" in lab.written(), 60)
        size = sum(path.stat().st_size for path in lab.spool.glob("*.jsonl"))
        # Modules write no file any more, and the next line is longer than this.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 50, size + 50))
        assert lab.finish(process) == usual
        lab.check(keeper)


def dice_of(name):
    return random.Random(f"{attack_seed()} {name}")


def kill_process(_lab, process):
    """As the kernel does for want of memory: what it has started goes on."""
    process.kill()


def kill_everything(_lab, process):
    kill_with_descendants(process.pid)


def interrupt(_lab, process):
    """As Ctrl-C does. What comes in the moment of a fork ends Ansible's workers only, for which it then waits for ever: so again."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    os.killpg(process.pid, signal.SIGINT)


def kill_loaders(lab, _process):
    for each in lab.loaders():
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


@pytest.mark.parametrize("way", [kill_process, kill_everything, interrupt, kill_loaders])
def test_a_kill_loses_no_event_and_leaves_no_run_that_never_ends(database, tmp_path, way):
    dice = dice_of(way.__name__)
    with Lab(tmp_path, database, BUSY, MANY_HOSTS) as lab, SpoolKeeper(lab.spool) as keeper:
        process = lab.start(lab.playbook, url=lab.url)
        wait_for(lambda: lab.files, 60)
        began = time.monotonic()
        assert lab.finish(process)[0] == 0
        duration = time.monotonic() - began
        assert lab.check(keeper) == [("succeeded", None)]
        hits, tries = Counter(), 0
        while hits.total() < KILLS:
            tries += 1
            assert tries <= 10 * KILLS, "hardly a kill meets a run"
            before = set(keeper.lines())
            process = lab.start(lab.playbook, url=lab.url)
            wait_for(lambda: lab.files, 60)
            if way is kill_loaders:
                # It lives for a moment only.
                wait_for(lab.loaders, 60)
                time.sleep(dice.random() * LOADER_SECONDS)
                was_running = bool(lab.loaders())
            else:
                time.sleep(dice.random() * duration)
                was_running = process.poll() is None
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                way(lab, process)
            lab.finish(process)
            runs = lab.check(keeper)
            (killed,) = set(keeper.lines()) - before
            last = keeper.lines()[killed][-1]
            if way is kill_loaders:
                hits["loaders"] += was_running
                assert last["end"]["status"] == "succeeded"
            elif was_running and last.get("end", {}).get("status") != "succeeded":
                # What was killed says nothing, also by a second Ctrl-C, and what was interrupted says so.
                was_killed = process.returncode in (-signal.SIGKILL, -signal.SIGINT)
                assert last.get("end", {}).get("status") == (None if was_killed else "cancelled")
                hits[len(keeper.lines()[killed]) // 20 * 20] += 1
            assert len(runs) == tries + 1
    print(f"{way.__name__}: {hits.total()} of {tries} met a run; lines by then, in twenties: {sorted(hits.items())}")


def test_many_plays_at_once_on_one_spool_are_all_recorded(database, tmp_path):
    plays = [{**BUSY[0], "strategy": "linear"}]
    with Lab(tmp_path, database, plays) as lab, SpoolKeeper(lab.spool) as keeper:
        processes = [lab.start(lab.playbook, url=lab.url) for _number in range(PLAYS_AT_ONCE)]
        seen = [lab.finish(process) for process in processes]
        assert seen[0][0] == 0
        assert seen == seen[:1] * PLAYS_AT_ONCE
        lab.wait_for_loaders()
        assert lab.log() == ""
        assert lab.check(keeper) == [("succeeded", None)] * PLAYS_AT_ONCE
