"""The log of the loader's process, and its end when nothing goes on any more."""

import os
import pathlib
import subprocess
import sys

from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.background import LoaderLog

WATCHED = """
import functools
import time
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.background import Watchdog
with Watchdog(functools.partial(print, flush=True), seconds=0.2) as watchdog:
    watchdog.feed()
    time.sleep(600)
"""


def test_the_log_is_its_owners_alone_and_never_long(tmp_path):
    log, file = LoaderLog(str(tmp_path)), tmp_path / "loader.log"
    before = os.umask(0)
    try:
        log.write("First.")
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    for number in range(3000):
        log.write(f"Sentence {number}: " + "x" * 100)
    log.write("One\nline\x1b[31m\u202e with \ud800 and " + "y" * 5000)
    assert file.stat().st_size < 70_000
    *lines, last = file.read_text(encoding="utf-8").splitlines()
    assert lines[-1].endswith("Sentence 2999: " + "x" * 100)
    assert all(" Sentence " in line for line in lines)
    assert "Z One line?[31m? with ? and yyy" in last
    assert len(last) < 1100


def test_the_log_is_written_through_no_link_and_into_no_pipe(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept", encoding="ascii")
    (tmp_path / "loader.log").symlink_to(target)
    LoaderLog(str(tmp_path)).write("A sentence.")
    assert target.read_text(encoding="ascii") == "kept"
    (tmp_path / "loader.log").unlink()
    os.mkfifo(tmp_path / "loader.log")
    LoaderLog(str(tmp_path)).write("A sentence.")
    LoaderLog(str(tmp_path / "missing")).write("A sentence.")


def test_a_process_that_comes_no_further_ends_and_says_so():
    # The whole of it, since it ends the process itself.
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2] / "collections")}
    result = subprocess.run(
        [sys.executable, "-c", WATCHED], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (1, "")
    sentence = "The database has not answered for 0 seconds: what was not loaded stays in the spool."
    assert result.stdout.splitlines() == [sentence]
