"""The pool's rules, with sessions that are made up: who gets one, who is turned away, what is closed."""

import re
import threading
import time

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.database import pool as pool_module
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import Settings
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    PoolClosedError,
    PoolFullError,
    PoolTimeoutError,
)

IDLE, IN_TRANSACTION, UNKNOWN = 0, 2, 4


class Server:
    """What the made-up sessions connect to."""

    def __init__(self):
        self.error = None
        self.gate = None
        self.sessions = []
        self.attempts = 0

    @property
    def open(self):
        return [session for session in self.sessions if not session.closed]

    def session(self, settings):
        return Session(self, settings)


class Session:
    def __init__(self, server, settings):
        server.attempts += 1
        if server.gate is not None:
            server.gate.wait(30)
        if server.error:
            raise ConnectError(server.error)
        self.settings = settings
        self.expires_at = time.monotonic() + settings.pool_max_lifetime
        self.orphaned = self.closed = self.lost = self.silent = False
        self.quiet = True
        self.state = IDLE
        self.questions = 0
        self.rest(time.monotonic())
        server.sessions.append(self)

    def rest(self, now):
        self.idle_since = now
        self.check_at = min(now + self.settings.pool_check_after, self.expires_at)

    def poll(self, timeout):
        assert timeout == 0
        return [] if self.quiet else [(3, 1)]

    def answers(self):
        self.questions += 1
        return self.quiet and time.monotonic() < self.expires_at

    def status(self):
        return self.state

    def command(self, sql):
        assert sql == "ROLLBACK"
        self.state = IDLE

    def close(self):
        self.closed = True

    interrupt = close
    cut = close

    def orphan(self):
        self.orphaned = True


@pytest.fixture
def server(monkeypatch):
    made_up = Server()
    monkeypatch.setattr(pool_module, "Session", made_up.session)
    return made_up


@pytest.fixture
def make_pool(server, monkeypatch):
    monkeypatch.setattr(pool_module, "_GRACE", 0.0)
    pools = []

    def make(**options):
        options.setdefault("pool_timeout", 30)
        pools.append(pool_module.Pool(Settings(**options)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0)


def in_thread(work):
    """Start work() in a thread; the result is read with .result()."""
    thread = threading.Thread(target=lambda: outcome.append(_outcome(work)), daemon=True)
    outcome = []
    thread.start()

    def result():
        thread.join(30)
        assert not thread.is_alive()
        return outcome[0]

    thread.result = result
    return thread


def _outcome(work):
    try:
        return work()
    except Exception as error:
        return error


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)


def test_one_session_serves_callers_one_after_the_other(server, make_pool):
    pool = make_pool()
    for _ in range(5):
        pool.release(pool.acquire())
    assert len(server.sessions) == 1
    stats = pool.stats()
    assert (stats.total, stats.idle, stats.in_use, stats.waiting, stats.checkouts, stats.opened) == (1, 1, 0, 0, 5, 1)


def test_the_last_used_session_is_used_first(server, make_pool):
    pool = make_pool()
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    assert pool.acquire() is second
    assert pool.acquire() is first


def test_first_come_first_served(server, make_pool):
    pool = make_pool(pool_size=1)
    session = pool.acquire()
    order = []

    def caller(number):
        mine = pool.acquire()
        order.append(number)
        pool.release(mine)

    threads = []
    for number in range(20):
        threads.append(in_thread(lambda number=number: caller(number)))
        wait_until(lambda number=number: pool.stats().waiting == number + 1)
    pool.release(session)
    for thread in threads:
        thread.result()
    assert order == list(range(20))
    assert pool.stats().waits == 21


def test_nobody_overtakes_the_queue(server, make_pool):
    """A session that is given back goes to the one who waits, although another caller asks in the same moment."""
    pool = make_pool(pool_size=1)
    session = pool.acquire()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: pool.stats().waiting == 1)
    pool.release(session)
    with pytest.raises(PoolTimeoutError):
        pool.acquire_within(0.01)
    assert waiting.result() is session


def test_a_time_out_says_how_things_stand(server, make_pool):
    pool = make_pool(pool_size=2, pool_timeout=0.05)
    inside, over = threading.Event(), threading.Event()

    def load_hosts():
        pool.acquire()
        inside.set()
        over.wait(30)

    threading.Thread(target=load_hosts, name="loader").start()
    inside.wait(30)
    pool.acquire()
    with pytest.raises(PoolTimeoutError) as error:
        pool.acquire()
    over.set()
    here = r"now in (\w+) \(test_client_pool\.py line \d+\)"
    found = re.fullmatch(
        r"No connection within 0\.05 s: total 2 of at most 2, idle 0, waiting 0, no connection error\. Held by "
        rf"loader for \d+\.\d s, {here}; "
        rf"MainThread \(this one: use its transaction, not the client\) for \d+\.\d s, {here}\.",
        str(error.value),
    )
    assert found, str(error.value)
    assert found.groups() == ("load_hosts", "test_a_time_out_says_how_things_stand")
    assert pool.stats().timeouts == 1


def test_of_many_holders_those_are_named_that_have_held_for_longest(server, make_pool):
    pool = make_pool(pool_size=8, pool_timeout=0.05, pool_max_waiting=0)
    threads = [threading.Thread(target=pool.acquire, name=f"holder {number}") for number in range(8)]
    for thread in threads:
        thread.start()
        thread.join()
    with pytest.raises(PoolFullError, match=r"Held by (a thread that has ended for \d+\.\d s; ){5}and 3 more\.$"):
        pool.acquire()


def test_the_time_out_holds_while_a_connection_hangs(server, make_pool):
    server.gate = threading.Event()
    pool = make_pool(pool_timeout=0.05)
    with pytest.raises(PoolTimeoutError, match="total 1 of at most 20"):
        pool.acquire()
    server.gate.set()
    wait_until(lambda: pool.stats().idle == 1)


def test_callers_are_served_by_what_is_given_back_while_a_connection_hangs(server, make_pool):
    pool = make_pool(pool_size=2)
    session = pool.acquire()
    server.gate = threading.Event()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: server.attempts == 2)
    pool.release(session)
    assert waiting.result() is session
    server.gate.set()


def test_too_many_callers_are_turned_away_at_once(server, make_pool):
    pool = make_pool(pool_size=1, pool_max_waiting=1)
    session = pool.acquire()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: pool.stats().waiting == 1)
    with pytest.raises(PoolFullError, match="waiting 1"):
        pool.acquire()
    assert pool.stats().refusals == 1
    pool.release(session)
    assert waiting.result() is session


def test_with_no_waiting_allowed_connections_may_still_be_opened(server, make_pool):
    pool = make_pool(pool_size=2, pool_max_waiting=0)
    pool.acquire()
    pool.acquire()
    with pytest.raises(PoolFullError):
        pool.acquire()


def test_never_more_than_the_size(server, make_pool):
    pool = make_pool(pool_size=3)
    highest = []

    def caller():
        for _ in range(50):
            session = pool.acquire()
            highest.append(len(server.open))
            pool.release(session)

    threads = [in_thread(caller) for _ in range(12)]
    assert [thread.result() for thread in threads] == [None] * 12
    assert max(highest) <= 3
    assert pool.stats().checkouts == 600


def test_a_first_failure_is_told_at_once(server, make_pool):
    server.error = "no such database"
    pool = make_pool()
    with pytest.raises(ConnectError, match="no such database"):
        pool.acquire()
    stats = pool.stats()
    assert (stats.total, stats.open_errors, stats.last_error) == (0, 1, "no such database")


def test_a_patient_caller_waits_for_a_server_that_comes_later(server, make_pool):
    server.error = "not yet"
    pool = make_pool()
    waiting = in_thread(lambda: pool.acquire_within(30, patient=True))
    wait_until(lambda: server.attempts >= 2)
    server.error = None
    assert waiting.result() is server.sessions[0]
    assert pool.stats().last_error is None


def test_during_an_outage_callers_wait_and_one_attempt_at_a_time_is_made(server, make_pool):
    pool = make_pool(pool_size=5)
    lost = [pool.acquire() for _ in range(3)]
    server.error = "the server is away"
    for session in lost:
        session.state = UNKNOWN
        pool.release(session)
    threads = [in_thread(pool.acquire) for _ in range(5)]
    wait_until(lambda: pool.stats().open_errors >= 3 and pool.stats().waiting == 5)
    wait_until(lambda: pool.stats().total == 1)
    with pytest.raises(PoolTimeoutError, match="last connection error: the server is away"):
        pool.acquire_within(0.05)
    server.error = None
    assert len({thread.result() for thread in threads}) == 5
    assert pool.stats().lost == 3


def test_an_attempt_ends_when_nobody_waits_any_more(server, make_pool):
    pool = make_pool()
    session = pool.acquire()
    session.state = UNKNOWN
    pool.release(session)
    server.error = "away"
    with pytest.raises(PoolTimeoutError):
        pool.acquire_within(0.02)
    wait_until(lambda: pool.stats().total == 0)


def test_a_session_that_has_heard_something_is_asked(server, make_pool):
    pool = make_pool()
    session = pool.acquire()
    pool.release(session)
    session.quiet = False
    other = pool.acquire()
    assert other is not session
    assert session.closed
    assert session.questions == 1
    assert pool.stats().lost == 1


def test_a_session_that_was_idle_for_long_is_asked(server, make_pool):
    pool = make_pool(pool_check_after=0)
    pool.release(pool.acquire())
    asked = server.sessions[0].questions
    pool.release(pool.acquire())
    assert server.sessions[0].questions == asked + 1


def test_all_idle_sessions_may_be_dead(server, make_pool):
    pool = make_pool(pool_size=3)
    sessions = [pool.acquire() for _ in range(3)]
    for session in sessions:
        pool.release(session)
        session.quiet = False
    fresh = pool.acquire()
    assert fresh not in sessions
    assert [session.closed for session in sessions] == [True, True, True]
    assert pool.stats().total == 1


def test_an_old_session_is_replaced(server, make_pool):
    pool = make_pool()
    session = pool.acquire()
    session.expires_at = 0
    pool.release(session)
    assert session.closed
    second = pool.acquire()
    pool.release(second)
    second.expires_at = second.check_at = 0
    assert pool.acquire() not in (session, second)
    assert pool.stats().expired == 2
    assert pool.stats().lost == 0


def test_unused_sessions_are_closed_but_for_one(server, make_pool):
    pool = make_pool(pool_max_idle=0)
    sessions = [pool.acquire() for _ in range(4)]
    for session in sessions:
        pool.release(session)
    time.sleep(0.001)
    assert pool.stats().total == 1
    assert len(server.open) == 1


def test_a_session_in_a_transaction_is_rolled_back(server, make_pool, caplog):
    pool = make_pool()
    session = pool.acquire()
    session.state = IN_TRANSACTION
    pool.release(session)
    assert pool.acquire() is session
    assert pool.stats().rolled_back == 1
    assert "in the middle of a transaction" in caplog.text


def test_a_broken_session_makes_room_for_the_queue(server, make_pool):
    pool = make_pool(pool_size=1)
    session = pool.acquire()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: pool.stats().waiting == 1)
    session.state = UNKNOWN
    pool.release(session)
    assert waiting.result() is server.sessions[1]


def test_an_interrupted_caller_leaves_the_queue(server, make_pool, monkeypatch):
    pool = make_pool(pool_size=1)
    session = pool.acquire()

    class Interrupted(pool_module._Waiter):
        def __init__(self, patient):
            super().__init__(patient)
            self.signal = self

        def acquire(self, timeout):
            pool.release(session)  # it is given to this caller in the very moment in which he is interrupted
            raise KeyboardInterrupt

        def release(self):
            pass

    monkeypatch.setattr(pool_module, "_Waiter", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.acquire()
    stats = pool.stats()
    assert (stats.waiting, stats.idle, stats.total) == (0, 1, 1)


def test_closing_waits_for_sessions_in_use_and_turns_the_queue_away(server, make_pool):
    pool = make_pool(pool_size=1)
    session = pool.acquire()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: pool.stats().waiting == 1)
    closing = in_thread(lambda: pool.close(30))
    assert isinstance(waiting.result(), PoolClosedError)
    with pytest.raises(PoolClosedError, match="call connect"):
        pool.acquire()
    assert not session.closed
    pool.release(session)
    assert closing.result() is True
    assert session.closed
    assert pool.close(0) is True
    assert pool.stats().total == 0


def test_closing_ends_what_does_not_come_back(server, make_pool, caplog):
    pool = make_pool()
    session = pool.acquire()
    assert pool.close(0.01) is False
    assert session.closed
    assert "1 connections that are still in use" in caplog.text
    session.state = UNKNOWN
    pool.release(session)
    assert pool.stats().total == 0


def test_a_connection_that_is_opened_too_late_is_closed_again(server, make_pool):
    server.gate = threading.Event()
    pool = make_pool()
    waiting = in_thread(pool.acquire)
    wait_until(lambda: server.attempts == 1)
    closing = in_thread(lambda: pool.close(30))
    assert isinstance(waiting.result(), PoolClosedError)
    server.gate.set()
    assert closing.result() is True
    assert server.open == []


def test_a_closed_pool_may_be_opened_again(server, make_pool):
    pool = make_pool()
    pool.release(pool.acquire())
    pool.close(1)
    pool.open()
    pool.release(pool.acquire())
    assert len(server.open) == 1


def test_without_threads_the_caller_opens_the_connection(server, make_pool, monkeypatch):
    pool = make_pool()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert pool.acquire() is server.sessions[0]
