"""The service's connections: clients that are slow keep nobody from being answered, and those that are quick get what they asked for."""

import contextlib
import pathlib
import socket
import threading
import time

import pytest
from service_lab import TOKEN, Service

CONNECTIONS = 200
# What a client that waits in vain gives up after.
PATIENCE = 30
ONE_ADDRESS = ["127.0.0.1"]
SEVERAL_ADDRESSES = [f"127.0.0.{number}" for number in range(2, 12)]


@pytest.fixture(scope="module", autouse=True)
def many_hosts(shared_database):
    session = shared_database.session("admin")
    session.run("INSERT INTO hosts (name, type) SELECT 'h' || n, 'vm' FROM generate_series(1, 1000) AS n")


@pytest.fixture(scope="module")
def service(tmp_path_factory, shared_database):
    with Service(tmp_path_factory.mktemp("service"), shared_database, THREADS=2) as service:
        service.wait_for("/ready", 200)
        yield service


def connect(service, address="127.0.0.1", received=None):
    """A connection from a loopback address; `received`: how many bytes the kernel keeps for a client that does not read."""
    line = socket.socket()
    if received:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    line.settimeout(60)
    line.bind((address, 0))
    line.connect(("127.0.0.1", service.port))
    return line


def read_all(line):
    """Until the service closes the connection."""
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


BEGINNINGS = {
    "headers": b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9999\r\n\r\ntoken=",
    "nothing": b"",
    "kept and then half a request": b"GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /live HTTP/1.1\r\nX-Slow: ",
    "many requests and no reading": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 400,
}
LARGE = f"GET /api/v1/inventory/hosts?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@contextlib.contextmanager
def dripping(lines):
    """Another byte on each of the lines, again and again: no pause is long enough for a time-out of a silence."""
    over = threading.Event()

    def drip():
        while not over.wait(0.5):
            for line in lines:
                with contextlib.suppress(OSError):
                    line.send(b"a", socket.MSG_DONTWAIT)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@pytest.mark.parametrize("addresses", [ONE_ADDRESS, SEVERAL_ADDRESSES], ids=["one address", "several addresses"])
@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_slow_clients_keep_nobody_from_being_answered(service, beginning, addresses):
    lines = [connect(service, addresses[number % len(addresses)], received=2048) for number in range(CONNECTIONS)]
    try:
        for line in lines:
            line.sendall(beginning)
        with dripping(lines if beginning else []):
            for _ in range(3):
                assert service.get("/live", timeout=PATIENCE)[0] == 200
    finally:
        for line in lines:
            line.close()


def test_thousands_of_short_requests_keep_nobody_from_being_answered(service):
    over = threading.Event()
    asked = []

    def ask(address, path):
        while not over.is_set():
            with contextlib.suppress(OSError), connect(service, address) as line:
                line.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                asked.append(path)
                # Every other one does not wait for its answer.
                if len(asked) % 2:
                    read_all(line)

    paths = ("/metrics", "/health", "/nothing", "/login")
    clients = [
        threading.Thread(target=ask, args=(address, path)) for address in SEVERAL_ADDRESSES[:4] for path in paths
    ]
    for client in clients:
        client.start()
    try:
        while len(asked) < 2000:
            assert service.get("/live", timeout=PATIENCE)[0] == 200
    finally:
        over.set()
        for client in clients:
            client.join(60)
    service.wait_for("/health", 200)


def test_an_address_at_its_limit_is_still_heard_and_others_do_not_notice(tmp_path, shared_database):
    with Service(tmp_path, shared_database, THREADS=2, CONNECTIONS_PER_ADDRESS=8) as service:
        other = connect(service, "127.0.0.2")
        lines = []
        for _ in range(30):
            lines.append(connect(service))
            lines[-1].sendall(BEGINNINGS["headers"])
        assert service.get("/live", timeout=PATIENCE)[0] == 200
        # The oldest had to go.
        with contextlib.suppress(ConnectionResetError):
            assert lines[0].recv(1) == b""
        other.sendall(b"GET /live HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_all(other).startswith(b"HTTP/1.1 200 ")
        for line in (*lines, other):
            line.close()


# The service itself with other times: what its own come to is waited for by nobody.
IMPATIENT = (
    "from mission_control_service import __main__, worker; "
    "worker.REQUEST_TIME, worker.ANSWER_TIME = 1.0, 2.0; __main__.main()"
)


def is_kept(service, line):
    """Whether the service still has its end of a connection, which one that does not read is not told."""
    ends = f":{service.port:04X} ", f":{line.getsockname()[1]:04X} "
    for each in pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _number, local, remote, state = each.split()[:4]
        if f"{local} ".endswith(ends[0]) and f"{remote} ".endswith(ends[1]):
            return state == "01"
    return False


def test_a_request_and_an_answer_have_an_end_however_busy_the_client_is(tmp_path, shared_database):
    with Service(tmp_path, shared_database, program=("-c", IMPATIENT), THREADS=2) as service:
        headers, body = connect(service), connect(service)
        headers.sendall(BEGINNINGS["headers"])
        body.sendall(BEGINNINGS["body"])
        # More answers than the kernel keeps for somebody who does not read.
        reader = connect(service, received=2048)
        reader.sendall(LARGE * 30)
        with dripping([headers, body]):
            assert read_all(headers).startswith(b"HTTP/1.1 408 ")
            assert read_all(body).startswith(b"HTTP/1.1 408 ")
            deadline = time.monotonic() + PATIENCE
            while is_kept(service, reader):
                assert time.monotonic() < deadline, "the service waits for somebody who does not read"
                time.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            # The rest is missing: the service did not wait for ever.
            assert read_all(reader).count(b"HTTP/1.1 200 ") < 30
        for line in (headers, body, reader):
            line.close()


def test_a_slow_reader_gets_the_whole_answer(service):
    status, expected = service.get("/api/v1/inventory/hosts?limit=1000")
    assert status == 200
    with connect(service, received=2048) as line:
        line.sendall(LARGE.replace(b"Host", b"Connection: close\r\nHost"))
        parts = []
        while part := line.recv(4096):
            parts.append(part)
            threading.Event().wait(0.001)
    head, _empty, content = b"".join(parts).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    assert content.count(b'"name"') == len(expected["items"]) == 1000


def test_requests_on_one_connection_are_answered_one_after_the_other(service):
    form = b"token=nobody-knows-this-token"
    with connect(service) as line:
        line.sendall(
            b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%s"
            b"HEAD /live HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (len(form), form)
        )
        answers = read_all(line)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"403", b"200", b"404"]


def test_who_waits_to_be_asked_for_the_body_is_asked(service):
    with connect(service) as line:
        line.sendall(
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n"
        )
        assert line.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"token=absent")
        assert read_all(line).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
        b"Content-Length: 0x10\r\n\r\n",
        b"Content-Length: +4\r\n\r\n",
        b"Content-Length : 40\r\n\r\n",
        b"X: y\r\n Content-Length: 40\r\n\r\n",
        b"Content-Length: 99999999\r\n\r\n",
    ],
)
def test_where_the_end_of_a_body_is_in_doubt_nothing_after_it_is_a_request(service, headers):
    with connect(service) as line:
        line.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\n" + headers + b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = read_all(line)
    assert answers.startswith(b"HTTP/1.1 4")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b'"live"' not in answers
