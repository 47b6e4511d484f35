"""Values computed in the background: once for all who ask, and never a caller that hangs."""

import threading

import pytest
from mission_control_service.cached import Cached


class Work:
    """A computation that counts its runs, and goes on when it is told to."""

    def __init__(self, held=False):
        self.runs = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self):
        self.runs += 1
        self.begun.set()
        assert self.go.wait(30)
        return self.runs


def ask(cached, results):
    snapshot = cached.get()
    results.append(snapshot.value if snapshot else None)


def test_callers_that_come_together_share_one_computation():
    work = Work(held=True)
    cached = Cached("test", work, fresh_for=60, patience=30)
    results = []
    threads = [threading.Thread(target=ask, args=(cached, results)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert work.begun.wait(30)
    work.go.set()
    for thread in threads:
        thread.join(30)
    assert results == [1] * 20
    assert cached.get().value == 1
    assert work.runs == 1


def test_with_nothing_to_be_kept_every_caller_gets_a_new_value():
    cached = Cached("test", Work(), fresh_for=0, patience=30)
    assert [cached.get().value for _ in range(3)] == [1, 2, 3]


def test_a_computation_that_hangs_holds_nobody_longer_than_the_patience():
    work = Work(held=True)
    cached = Cached("test", work, fresh_for=0, patience=0.05)
    assert cached.get() is None
    # The patience counts from the beginning of the computation: whoever comes later does not wait at all.
    assert cached.get() is None
    assert work.runs == 1
    work.go.set()


def test_the_value_before_is_what_there_is_while_the_next_one_hangs():
    work = Work()
    cached = Cached("test", work, fresh_for=0, patience=0.05)
    cached._patience = 30
    assert cached.get().value == 1
    cached._patience = 0.05
    work.go.clear()
    stale = cached.get()
    assert stale.value == 1
    assert stale.age >= 0.05
    work.go.set()


def test_an_expired_value_is_not_given_before_a_look_for_a_newer_one():
    cached = Cached("test", Work(), fresh_for=60, patience=30)
    assert cached.get().value == 1
    cached.expire()
    assert cached.get().value == 2


def test_an_error_keeps_the_value_before_and_is_no_error_of_the_caller(caplog):
    answers = iter([1, ValueError("broken"), 3])

    def compute():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cached = Cached("test", compute, fresh_for=0, patience=30, expected=(ValueError,))
    assert [cached.get().value for _ in range(3)] == [1, 1, 3]
    assert cached.failures == 1
    assert "No new value of test: broken" in caplog.text
    assert "Traceback" not in caplog.text


def test_what_takes_long_is_repeated_seldom():
    pause = threading.Event()
    runs = []

    def compute():
        runs.append(pause.wait(0.05))

    cached = Cached("test", compute, fresh_for=0, patience=30, rest_factor=1000)
    for _ in range(5):
        assert cached.get() is not None
    assert len(runs) == 1


@pytest.mark.parametrize("fresh_for", [0, 60])
def test_a_refresh_waits_for_nothing(fresh_for):
    work = Work(held=True)
    cached = Cached("test", work, fresh_for, patience=30)
    cached.refresh()
    assert work.begun.wait(30)
    work.go.set()
    assert cached.get().value >= 1
