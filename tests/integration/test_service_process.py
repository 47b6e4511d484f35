"""The service as a process under gunicorn: its start, its stop, and what is in flight meanwhile."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
from mission_control.sockets import port_holder
from mission_control_service import lifecycle
from service_lab import AUTHORIZATION, Service

HOSTS = "/api/v1/inventory/hosts?limit=1000"


@pytest.fixture(scope="module", autouse=True)
def many_hosts(shared_database):
    session = shared_database.session("admin")
    session.run("INSERT INTO hosts (name, type) SELECT 'h' || n, 'vm' FROM generate_series(1, 1000) AS n")


def load(service, answers, stop):
    """Ask until the port is closed; each request that was sent on a connection of its own must be answered whole."""
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        try:
            connection.connect()
        except OSError:
            return
        try:
            connection.request("GET", HOSTS, headers={**AUTHORIZATION, "Connection": "close"})
            answer = connection.getresponse()
            answers.append((answer.status, len(answer.read()), int(answer.getheader("Content-Length"))))
        except (OSError, http.client.HTTPException) as error:
            answers.append(error)
        finally:
            connection.close()


def test_a_stop_under_load_loses_no_answer_and_ends_with_0(tmp_path, shared_database):
    answers = []
    stop = threading.Event()
    session = shared_database.session("admin")
    with Service(tmp_path, shared_database, THREADS=4) as service:
        service.wait_for("/ready", 200)
        before = scans_of_hosts(session)
        callers = [threading.Thread(target=load, args=(service, answers, stop)) for _ in range(12)]
        for caller in callers:
            caller.start()
        while len(answers) < 40:
            stop.wait(0.01)
        service.terminate()
        code = service.process.wait(timeout=30)
        stop.set()
        for caller in callers:
            caller.join(30)
    assert code == 0, service.log.read_text()
    # A connection that the kernel had taken and no worker yet is turned away without a byte: whoever asks may ask again.
    turned_away = [
        answer for answer in answers if isinstance(answer, (ConnectionError, http.client.RemoteDisconnected))
    ]
    answered = [answer for answer in answers if isinstance(answer, tuple)]
    assert len(answered) + len(turned_away) == len(answers), answers
    assert {(status, size == announced) for status, size, announced in answered} == {(200, True)}
    assert "Traceback" not in service.log.read_text()
    # What the server of the database counted: each request that was worked on was also answered.
    wait_until_gone(session)
    assert scans_of_hosts(session) - before == len(answered)


def scans_of_hosts(session):
    return session.value("SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'hosts'")


def wait_until_gone(session):
    """Until the service has no connection left; what one has counted is known when it ends."""
    for _ in range(600):
        if not session.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'mission_control_service'"
        ):
            return
        threading.Event().wait(0.05)
    raise AssertionError("The service is still connected.")


def begun_answer(service, path):
    """A connection on which a request was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", path, headers=AUTHORIZATION)
    return connection


def wait_until_reading(session, count):
    """Until so many statements of the service wait for the lock."""
    for _ in range(600):
        found = session.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'mission_control_service' AND wait_event_type = 'Lock'"
        )
        if found >= count:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{found} statements wait, not {count}")


def test_an_answer_that_waits_for_the_database_is_still_given_after_the_stop(tmp_path, database):
    blocker = database.session("admin")
    watcher = database.session("admin")
    with Service(tmp_path, database, HEALTH_CACHE_SECONDS=60, STATEMENT_TIMEOUT=60) as service:
        service.wait_for("/ready", 200)
        blocker.run("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        waiting = begun_answer(service, "/api/v1/tasks")
        wait_until_reading(watcher, 1)
        service.terminate()
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", service.port), timeout=5).close()
            except OSError:
                break
            threading.Event().wait(0.05)
        blocker.run("COMMIT")
        answer = waiting.getresponse()
        assert answer.status == 200
        assert answer.read()
        assert service.process.wait(timeout=30) == 0


def test_a_reading_that_takes_too_long_is_cancelled_by_the_stop_and_answered(tmp_path, database):
    blocker = database.session("admin")
    watcher = database.session("admin")
    with Service(tmp_path, database, HEALTH_CACHE_SECONDS=60, STATEMENT_TIMEOUT=60, GRACEFUL_TIMEOUT=4) as service:
        service.wait_for("/ready", 200)
        blocker.run("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        waiting = begun_answer(service, "/api/v1/tasks")
        wait_until_reading(watcher, 1)
        service.terminate()
        answer = waiting.getresponse()
        assert answer.status == 503
        assert answer.getheader("Content-Type") == "application/problem+json"
        assert service.process.wait(timeout=30) == 0
        wait_until_gone(watcher)
        blocker.run("COMMIT")


def test_an_interrupt_ends_it_too(tmp_path, shared_database):
    with Service(tmp_path, shared_database) as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=30) == 0


def test_systemd_hears_of_the_start_the_life_and_the_stop_also_without_a_database(tmp_path):
    class Nowhere:
        name = "nowhere"

        class cluster:  # noqa: N801 - stands for an object
            socket_directory = "/nowhere"
            port = 1

    service = Service(tmp_path, Nowhere)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        service.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        service.environment["WATCHDOG_USEC"] = "1000000"
        with service:
            heard = [systemd.recv(1024).decode().split("\n")[0] for _ in range(5)]
            assert heard == ["READY=1", *["WATCHDOG=1"] * 4]
            service.terminate()
            while heard[-1] != "STOPPING=1":
                heard.append(systemd.recv(1024).decode())
            assert service.process.wait(timeout=30) == 0


def test_a_worker_whose_accept_loop_stands_still_gives_no_sign_of_life(monkeypatch):
    class Worker:
        alive = True

        def notify(self):
            """Tells gunicorn's master the same."""

    signs = []
    monkeypatch.setenv("WATCHDOG_USEC", "2000")
    monkeypatch.setattr(lifecycle, "_PACE", 0.001)
    monkeypatch.setattr(lifecycle, "_LONGEST_TURN", 0.05)
    attended = lifecycle.Lifecycle(Worker(), None, 20, signs.append)
    worker = attended._worker
    pause = threading.Event()
    attended.start()
    while len(signs) < 3:
        worker.notify()
    while attended.sound():
        pause.wait(0.01)
    silent_from = len(signs)
    pause.wait(0.05)
    # One sign may have been on its way.
    assert len(signs) <= silent_from + 1
    worker.notify()
    while len(signs) <= silent_from + 1:
        worker.notify()
    # Its thread ends with the test run, as the database that it would close is none.
    assert set(signs) == {"WATCHDOG=1"}


@pytest.mark.parametrize(
    "others",
    [
        {
            "PGHOST": "/nowhere",
            "PGPORT": "1",
            "PGSERVICE": "none",
            "PGOPTIONS": "-c search_path=nothing",
            "PGSSLMODE": "verify-full",
        },
        {
            "POSTGRES_HOST": "/nowhere",
            "POSTGRES_DB": "other",
            "POSTGRES_USER": "somebody",
            "POSTGRES_PASSWORD": "of-theirs",
        },
        {"PGHOSTADDR": "192.0.2.1", "MISSION_CONTROL_ENV_FILE": "/nowhere"},
        {"DATABASE_URL": "postgresql://somebody@/other?host=/nowhere"},
    ],
    ids=lambda others: next(iter(others)),
)
def test_the_environment_of_another_application_leads_to_no_other_database(tmp_path, shared_database, others):
    service = Service(tmp_path, shared_database)
    service.environment.update(others)
    with service:
        service.wait_for("/ready", 200)


def refused(environment, **variables):
    """The exit code and the output of a service that does not start."""
    changed = {f"MISSION_CONTROL_SERVICE_{name}": value for name, value in variables.items()}
    result = subprocess.run(
        [sys.executable, "-m", "mission_control_service"],
        env={**environment, **changed},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.returncode, (result.stdout + result.stderr).strip()


def test_a_wrong_setting_is_one_sentence_and_the_code_that_asks_for_no_restart(tmp_path, shared_database):
    environment = Service(tmp_path, shared_database).environment
    code, output = refused(environment, THREADS="many")
    assert (code, output) == (
        78,
        "MISSION_CONTROL_SERVICE_THREADS must be a whole number from 2 to 64, not 'many'.",
    )
    (tmp_path / "secrets" / "api-tokens").write_text("hunter2\n")
    code, output = refused(environment)
    assert code == 78
    assert output.endswith("line 1 has 7 characters: a token has 16 to 512.")
    assert "\n" not in output
    (tmp_path / "secrets" / "api-tokens").write_text("")
    (tmp_path / "secrets" / "database.env").write_text("POSTGRES_PORT=no-number\n")
    code, output = refused(environment)
    assert code == 78
    assert "POSTGRES_PORT" in output
    assert "\n" not in output


def test_who_holds_the_port_is_named(tmp_path, shared_database):
    service = Service(tmp_path, shared_database)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", service.port))
        holder.listen()
        code, output = refused(service.environment)
    assert code == 78
    assert re.fullmatch(
        rf"Port {service.port} is held by process {os.getpid()} \(.+\): stop it, or set MISSION_CONTROL_SERVICE_BIND to another port\.",
        output,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_of_a_process_of_somebody_else_the_user_is_named(tmp_path, shared_database):
    service = Service(tmp_path, shared_database)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", service.port))
        holder.listen()
        assert port_holder(service.port)["pid"] == os.getpid()
        code = (
            f"import os, sys; sys.path.insert(0, {service.environment['PYTHONPATH']!r});"
            "from mission_control_service.port import check_port;"
            "from mission_control_service.configuration import Configuration;"
            "os.setgid(65534); os.setuid(65534);"
            f"check_port(Configuration(bind='127.0.0.1:{service.port}'))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "is held by a process of the user root:" in result.stderr


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_requests_out_of_bounds_are_refused_and_the_next_one_is_answered(small_service, request_text):
    with socket.create_connection(("127.0.0.1", small_service.port), timeout=10) as line:
        line.sendall(request_text)
        answer = line.recv(4096)
    assert re.match(rb"HTTP/1\.1 (400|414|431) ", answer), answer
    assert b"Traceback" not in answer
    assert small_service.get("/live")[0] == 200


def test_connections_that_say_nothing_do_not_keep_others_from_being_answered(small_service):
    silent = [socket.create_connection(("127.0.0.1", small_service.port), timeout=10) for _ in range(3)]
    assert small_service.get("/live", timeout=60)[0] == 200
    for line in silent:
        line.close()


@pytest.fixture(scope="module")
def small_service(tmp_path_factory, shared_database):
    with Service(tmp_path_factory.mktemp("service"), shared_database, THREADS=2) as service:
        yield service
