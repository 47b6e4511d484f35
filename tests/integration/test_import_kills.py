"""Imports under attack: `kill -9` of them and of the server at random moments.

MISSION_CONTROL_ATTACK_IMPORT_KILLS is the number of kills, and MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

import contextlib
import os
import time

from command import run_process, start_command
from import_lab import GrowingTranscripts, assert_each_call_once, start_and_kill

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_IMPORT_KILLS", "100"))
SERVER_KILLS = 8


def test_kill_9_at_random_moments_loses_and_repeats_nothing(database, application, tmp_path, dice):
    transcripts = GrowingTranscripts(tmp_path / "projects", dice)
    killed, progress = 0, [0]
    for _kill in range(KILLS):
        transcripts.grow(6000)
        arguments = ["--from-start"] if dice.random() < 0.1 else []
        killed += start_and_kill(database, application, transcripts, dice, *arguments, within=1.5)
        progress.append(application.value("SELECT count(*) FROM token_usage"))
    transcripts.finish()
    assert run_process(database, "import", "claude-code", str(transcripts.place)).returncode == 0
    assert_each_call_once(application, transcripts.expected)
    worked = sum(after > before for before, after in zip(progress, progress[1:]))
    print(
        f"{killed} of {KILLS} were killed, {worked} imports had written something, {len(transcripts.expected):,} calls"
    )


def test_a_server_that_is_killed_in_the_middle_has_each_call_once_in_the_end(restartable, tmp_path, dice):
    transcripts = GrowingTranscripts(tmp_path / "projects", dice)
    codes = []
    for _kill in range(SERVER_KILLS):
        transcripts.grow(12_000)
        process = start_command(restartable, "import", "claude-code", str(transcripts.place))
        time.sleep(dice.uniform(0.5, 2.5))
        restartable.cluster.kill()
        _out, error = process.communicate(timeout=120)
        codes.append(process.returncode)
        assert (process.returncode == 0) == (error == b""), error
        assert len(error.splitlines()) <= 1, error
        assert b"Traceback" not in error
        restartable.cluster.start()
    assert set(codes) <= {0, 3}
    assert 3 in codes, "no import was interrupted"
    transcripts.finish()
    assert run_process(restartable, "import", "claude-code", str(transcripts.place)).returncode == 0
    with contextlib.closing(restartable.session("admin")) as session:
        assert_each_call_once(session, transcripts.expected)
