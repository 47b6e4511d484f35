"""Ctrl-C in a program of the library: KeyboardInterrupt at once, and nothing goes on on the server."""

import os
import signal
import subprocess
import sys
import time

import pytest
from command import environment_of

BEGIN = """
import signal, sys, threading, time
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client

db = Client(application_name="interrupted", pool_size=1, slow_query=float("inf")).connect()
def work():
    {work}
try:
    print("at work", flush=True)
    work()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(db.query_one("SELECT 'and well' AS state")["state"], flush=True)
"""
SLEEP = 'db.query("SELECT pg_sleep(600)")'
WORKS = {
    "query": SLEEP,
    "transaction": 'with db.transaction() as t: t.query("SELECT pg_sleep(600)")',
    "savepoint": 'with db.transaction() as t, t.transaction() as inner: inner.query("SELECT pg_sleep(600)")',
    "stream": 'with db.stream("SELECT pg_sleep(600)") as rows: list(rows)',
    "execute_many": 'db.execute_many("SELECT pg_sleep(600), %s", [[1]])',
    "many rows": 'db.execute_many("INSERT INTO services (name) SELECT %s FROM pg_sleep(600)", [[str(n)] for n in range(300)])',
    "the second statement": f'db.query("SELECT 1"); {SLEEP}',
    "a lock": 'with db.transaction() as t: t.query("SELECT pg_advisory_xact_lock(1)")',
}


def start(database, work):
    environment = environment_of(database)
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN.replace("{work}", work)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def at_work(admin):
    return admin.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interrupted' AND state = 'active' AND wait_event IS NOT NULL"
    )


def wait_until(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.1)  # as a person is slower than this


@pytest.mark.parametrize("name", WORKS)
def test_a_keyboard_interrupt_comes_at_once_and_cancels_the_statement(database, admin, name):
    # For the session: in a transaction pg_stat_activity would stand still.
    admin.run("SELECT pg_advisory_lock(1)")
    process = start(database, WORKS[name])
    wait_until(lambda: at_work(admin) == 1, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (out.split("\n"), err) == (["at work", "interrupted", "and well", ""], "")


def test_a_caller_that_waits_for_a_connection_is_interrupted(database, admin):
    work = f"threading.Thread(target=lambda: db.query('SELECT pg_sleep(5)'), daemon=True).start(); time.sleep(0.5); {SLEEP}"
    process = start(database, work)
    wait_until(lambda: at_work(admin) == 1, process)
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    process.kill()
    process.communicate()


def test_a_handler_of_the_programs_own_lets_the_statement_end(database, admin):
    """It may only note that the program is to end when its work is done."""
    work = (
        "signal.signal(signal.SIGINT, lambda *_: print('noted', flush=True)); "
        "print(db.query_one('SELECT 1 AS n FROM pg_sleep(2)')['n'], flush=True)"
    )
    process = start(database, work)
    wait_until(lambda: at_work(admin) == 1, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (sorted(out.split()), err) == (["1", "at", "noted", "work"], "")


def test_an_event_loops_own_way_to_signals_goes_on(database):
    """asyncio has a pipe of its own for them, which stays in place and gets what came during a statement."""
    work = (
        "import os; ours, theirs = os.pipe(); os.set_blocking(theirs, False); signal.set_wakeup_fd(theirs); "
        "signal.signal(signal.SIGUSR1, lambda *_: None); "
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start(); "
        "db.query('SELECT pg_sleep(1)'); print(os.read(ours, 1)[0] == signal.SIGUSR1, signal.set_wakeup_fd(-1) == theirs)"
    )
    process = start(database, work)
    out, err = process.communicate(timeout=120)
    assert (out, err) == ("at work\nTrue True\n", "")


def test_a_forked_child_is_interrupted_too(database, admin):
    work = (
        "import os; db.query('SELECT 1'); child = os.fork(); "
        f"{SLEEP} if child == 0 else (os.waitpid(child, 0), sys.exit())"
    )
    process = start(database, work)
    wait_until(lambda: at_work(admin) == 1, process)
    pid = next(int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == process.pid)
    os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (out.split("\n"), err) == (["at work", "interrupted", "and well", ""], "")


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None
