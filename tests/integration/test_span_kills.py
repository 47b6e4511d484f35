"""The exporter of spans under attack: `kill -9` of its process and of the server, and a server that answers nothing at all.

MISSION_CONTROL_ATTACK_EXPORTER_KILLS is the number of kills, and MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

import os
import signal
import time

import pytest
from processes import descendants
from recorder_lab import url_of
from span_lab import Teller, assert_nothing_lost, install_library, kill_exporters

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_EXPORTER_KILLS", "100"))
SERVER_KILLS = 8


@pytest.fixture
def library(tmp_path):
    return install_library(tmp_path)


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "calls"


def test_kill_9_of_exporters_loses_and_repeats_nothing(database, spool, library, dice):
    acknowledged, kept = kill_exporters(database, spool, library, dice, KILLS)
    print(f"{KILLS} kills, {acknowledged} calls acknowledged, {kept} lines seen in the spool")
    assert kept > 0


def test_a_server_that_is_killed_below_exporters_gets_each_call_once(restartable, spool, library, dice):
    names = [f"call-{number:020d}" for number in range(200 * SERVER_KILLS)]
    tellers = [Teller(library, url_of(restartable), spool) for _number in range(2)]
    for number in range(SERVER_KILLS):
        for index, teller in enumerate(tellers):
            teller.tell(names[number * 200 + index : (number + 1) * 200 : 2])
        time.sleep(dice.uniform(0, 0.5))
        restartable.cluster.kill()
        time.sleep(dice.uniform(0, 1.5))
        restartable.cluster.start()
    acknowledged = {name for teller in tellers for name in teller.end()}
    assert acknowledged == set(names)
    assert_nothing_lost(restartable, spool, acknowledged, set(names))


def test_an_exporter_leaves_a_server_that_answers_nothing_at_all(restartable, spool, library):
    names = [f"call-{number:020d}" for number in range(3)]
    teller = Teller(library, url_of(restartable), spool)
    teller.tell(names[:1])
    assert teller.acknowledged() == names[0]
    server = [restartable.cluster.pid, *descendants(restartable.cluster.pid)]
    for each in server:
        os.kill(each, signal.SIGSTOP)
    try:
        teller.tell(names[1:])
        assert teller.end() == names[1:]
    finally:
        for each in server:
            os.kill(each, signal.SIGCONT)
    assert_nothing_lost(restartable, spool, set(names), set(names))
