"""Threads for tests of the client: all of them end, and what they raise is returned."""

import threading
import time


def eventually(condition, what):
    """Wait until it holds; a test that waits for ever ends no run."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def run_threads(count, work, timeout=60):
    """Run work(number) in threads that begin together; returns results and exceptions in their order."""
    barrier = threading.Barrier(count)
    outcomes = [None] * count

    def run(number):
        barrier.wait(timeout)
        try:
            outcomes[number] = work(number)
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    assert not [thread for thread in threads if thread.is_alive()], "a thread never got an answer"
    return outcomes


class Background:
    """Threads that repeat a piece of work until the block ends; their results and errors are collected."""

    def __init__(self, count, work):
        self.results = []
        self.errors = []
        self._stop = threading.Event()
        self._work = work
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def _run(self):
        while not self._stop.is_set():
            try:
                self.results.append(self._work())
            except Exception as error:
                self.errors.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not [thread for thread in self._threads if thread.is_alive()], "a thread never got an answer"
