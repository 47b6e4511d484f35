# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's worker for this service: no client can keep a thread by being slow.

gunicorn's own threaded worker reads a request and sends an answer within a thread, so as many slow clients as there are
threads stop it for everybody, and a time-out of a read bounds a silence alone. Here one loop reads all connections and
sends what they are slow to take; a thread is given whole requests only and is free again when the answer is made. What
parses a request and writes an answer is gunicorn's.

A request has REQUEST_TIME, an answer ANSWER_TIME, and an address so many connections: one more takes the place of the
oldest of that address that is not being answered, so the newest, which may be an honest one, is always heard.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import resource
import select
import socket
import sys
import threading
from time import monotonic
from typing import Any

from gunicorn.http import RequestParser, wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.base import Worker

from .configuration import Configuration
from .incoming import HeadTooLongError, Incoming
from .turns import Turns

# Seconds from a connection to its first byte, and from the first byte of a request to its end.
REQUEST_TIME = 10.0
# Seconds that a client may take over an answer.
ANSWER_TIME = 30.0
# Seconds that a client has to close a connection after its last answer.
_FAREWELL_TIME = 2.0
_MOST_CONNECTIONS = 1000
# Files that are no connections of clients: listeners, log, sources, static files.
_OTHER_FILES = 64
_ACCEPTED_AT_ONCE = 64
_CHUNK = 16 * 1024
_SWEEP_PACE = 0.5
_URGENT = (b"GET /live ", b"HEAD /live ")
_EX_CONFIG = 78

# Who may touch a connection: the loop in all states but ANSWERED, in which it is the thread's. Its lock is for the change back.
_READ, _ANSWERED, _SENT, _CLOSED = range(4)


class _Connection:
    __slots__ = (
        "client",
        "deadline",
        "events",
        "group",
        "incoming",
        "keep",
        "lock",
        "number",
        "outgoing",
        "request",
        "server",
        "socket",
        "state",
    )

    def __init__(self, connected: socket.socket, client: Any, server: Any, group: str) -> None:
        self.socket = connected
        # Stays known when the socket is closed.
        self.number = connected.fileno()
        self.client = client
        self.server = server
        self.group = group
        self.lock = threading.Lock()
        self.incoming = Incoming()
        self.request: tuple[bytes, bool] = (b"", False)
        self.outgoing = memoryview(b"")
        self.keep = False
        self.state = _READ
        self.deadline = monotonic() + REQUEST_TIME
        self.events = 0


class _Sink:
    """Takes an answer as gunicorn writes it to a socket."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.parts.append(bytes(data))

    def send(self, data: bytes) -> int:
        """gunicorn's "100 Continue", which the loop has sent where it was waited for."""
        return len(data)

    def gettimeout(self) -> float:
        return 0.0


class ServiceWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """One process: a loop in the main thread, threads that answer, and one for /live when all of them are taken."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by gunicorn before it starts a worker."""
        if cfg.is_ssl:
            print(
                "The service speaks no TLS: leave out certfile and keyfile, and put a proxy before it.", file=sys.stderr
            )
            raise SystemExit(_EX_CONFIG)

    def init_process(self) -> None:
        """Called by gunicorn in the new process; ends with run()."""
        configuration = Configuration.load()
        self._most_of_one = configuration.connections_per_address
        self._most = _most_connections(configuration.pool_size)
        self._connections: dict[int, _Connection] = {}
        self._groups: dict[str, dict[_Connection, None]] = {}
        self._requests: Turns[_Connection] = Turns()
        self._urgent: Turns[_Connection] = Turns()
        self._next_sweep = 0.0
        self._poll = select.epoll()
        super().init_process()

    def run(self) -> None:
        """Called by gunicorn once: until the stop, and then until all answers are given."""
        listeners = {listener.fileno(): listener for listener in self.sockets}
        for number, listener in listeners.items():
            listener.setblocking(False)
            self._poll.register(number, select.EPOLLIN)
        # Every signal writes a byte there, so a stop is not noticed only when a client says something.
        self._poll.register(self.PIPE[0], select.EPOLLIN)
        for turns in (self._urgent, *[self._requests] * self.cfg.threads):
            threading.Thread(target=self._answer_all, args=(turns,), daemon=True).start()
        while self.alive and os.getppid() == self.ppid:
            self._turn(1.0, listeners)
        self.alive: bool = False
        # At once, and not when the last answer is given.
        self.notify()
        for number, listener in listeners.items():
            self._poll.unregister(number)
            listener.close()
        end = monotonic() + self.cfg.graceful_timeout
        while monotonic() < end and self._busy():
            self._turn(0.05, {})

    def _busy(self) -> bool:
        return any(each.state in (_ANSWERED, _SENT) for each in self._connections.values())

    def _turn(self, longest: float, listeners: dict[int, Any]) -> None:
        self.notify()
        for number, _events in self._poll.poll(longest):
            connection = self._connections.get(number)
            if connection is not None:
                try:
                    self._attend(connection)
                except OSError:
                    # The client is gone.
                    self._drop(connection)
            elif number in listeners:
                self._accept(listeners[number])
            elif number == self.PIPE[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(number, 4096)
        if monotonic() >= self._next_sweep:
            self._sweep()

    def _sweep(self) -> None:
        """Part from everybody whose time is over."""
        now = monotonic()
        self._next_sweep = now + _SWEEP_PACE
        for connection in [each for each in self._connections.values() if _is_late(each, now)]:
            if connection.state == _READ and connection.incoming:
                self._refuse(connection, "408 Request Timeout")
            else:
                self._drop(connection)

    def _accept(self, listener: Any) -> None:
        server = listener.getsockname()
        for _attempt in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, client = listener.accept()
            except OSError:
                # Nobody waits any more, or who did is gone.
                return
            group = group_of(client)
            if not self._make_room(group):
                accepted.close()
                continue
            accepted.setblocking(False)
            connection = _Connection(accepted, client, server, group)
            self._connections[connection.number] = connection
            self._groups.setdefault(group, {})[connection] = None
            self._watch(connection, select.EPOLLIN)

    def _make_room(self, group: str) -> bool:
        if len(self._groups.get(group, ())) >= self._most_of_one:
            return self._drop_oldest(group)
        if len(self._connections) >= self._most:
            return self._drop_oldest(max(self._groups, key=lambda each: len(self._groups[each])))
        return True

    def _drop_oldest(self, group: str) -> bool:
        oldest = next((each for each in self._groups[group] if not _is_answered(each)), None)
        if oldest is None:
            return False
        self._drop(oldest)
        return True

    def _drop(self, connection: _Connection) -> None:
        self._watch(connection, 0)
        connection.socket.close()
        del self._connections[connection.number]
        group = self._groups[connection.group]
        del group[connection]
        if not group:
            del self._groups[connection.group]

    def _watch(self, connection: _Connection, events: int) -> None:
        if connection.events == events:
            return
        if not events:
            self._poll.unregister(connection.number)
        elif connection.events:
            self._poll.modify(connection.number, events)
        else:
            self._poll.register(connection.number, events)
        connection.events = events

    def _attend(self, connection: _Connection) -> None:
        # Where an answer is just being sent, for the moment that this takes: the next request often is there before the thread is done.
        with connection.lock:
            if connection.state == _ANSWERED:
                # It says something, or is gone, while it is answered: for later.
                self._watch(connection, 0)
                return
        if connection.state == _SENT:
            self._send(connection)
            return
        try:
            data = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._drop(connection)
        elif connection.state == _READ:
            if not connection.incoming:
                connection.deadline = monotonic() + REQUEST_TIME
            connection.incoming.feed(data)
            self._advance(connection)

    def _advance(self, connection: _Connection) -> None:
        """Give the request to a thread if it is whole."""
        try:
            request = connection.incoming.take()
        except HeadTooLongError:
            self._refuse(connection, "431 Request Header Fields Too Large")
            return
        if request is not None:
            connection.request = request
            connection.state = _ANSWERED
            # The thread of /live is for when all others are taken.
            urgent = self._requests.open >= self.cfg.threads and request[0].startswith(_URGENT)
            turns = self._urgent if urgent else self._requests
            turns.put(connection.group, connection)
        elif connection.incoming.expects:
            connection.incoming.expects = False
            with contextlib.suppress(OSError):
                connection.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, connection: _Connection, status: str) -> None:
        with contextlib.suppress(OSError):
            connection.socket.send(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        self._part(connection)

    def _part(self, connection: _Connection) -> None:
        """Close in one direction: to close a socket with bytes that nobody has read would take the answer from the client."""
        connection.state = _CLOSED
        connection.deadline = monotonic() + _FAREWELL_TIME
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            connection.deadline = 0.0
        self._watch(connection, select.EPOLLIN)

    def _send(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.outgoing)
        except BlockingIOError:
            return
        connection.outgoing = connection.outgoing[sent:]
        if not connection.outgoing:
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        """The answer is sent: wait for the next request, or part."""
        connection.outgoing = memoryview(b"")
        if not connection.keep or not self.alive:
            self._part(connection)
            return
        connection.state = _READ
        connection.deadline = monotonic() + (REQUEST_TIME if connection.incoming else self.cfg.keepalive)
        self._watch(connection, select.EPOLLIN)
        if connection.incoming:
            self._advance(connection)

    def _answer_all(self, turns: Turns[_Connection]) -> None:
        """What a thread does."""
        while True:
            connection = turns.get()
            answer, connection.keep = self._answer(connection)
            turns.done()
            with connection.lock:
                try:
                    sent = connection.socket.send(answer)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    # The client is gone, which the loop sees too.
                    sent, connection.keep = len(answer), False
                if sent < len(answer):
                    connection.outgoing = memoryview(answer)[sent:]
                    connection.deadline = monotonic() + ANSWER_TIME
                    connection.state = _SENT
                    self._watch(connection, select.EPOLLOUT)
                else:
                    self._finish(connection)

    def _answer(self, connection: _Connection) -> tuple[bytes, bool]:
        """The whole answer, and whether the connection is kept."""
        data, alone = connection.request
        sink = _Sink()
        request = None
        keep = False
        try:
            request = next(RequestParser(self.cfg, iter((data,)), connection.client))
            keep = self._ask_application(request, connection, sink, alone)
        except (NoMoreData, StopIteration) as error:
            self.log.debug("Closing connection. %s", error)
        except Exception as error:
            # What was made of an answer before it failed is not sent.
            sink = _Sink()
            self.handle_error(request, sink, connection.client, error)
        return b"".join(sink.parts), keep

    def _ask_application(self, request: Any, connection: _Connection, sink: _Sink, alone: bool) -> bool:
        began = datetime.datetime.now()
        response, environ = wsgi.create(request, sink, connection.client, connection.server, self.cfg)
        environ["wsgi.multithread"] = True
        if alone or not self.alive:
            response.force_close()
        parts = self.wsgi(environ, response.start_response)
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            self.log.access(response, request, environ, datetime.datetime.now() - began)
            if hasattr(parts, "close"):
                parts.close()
        return not response.should_close()


def _is_answered(connection: _Connection) -> bool:
    with connection.lock:
        return connection.state == _ANSWERED


def _is_late(connection: _Connection, now: float) -> bool:
    with connection.lock:
        return connection.state != _ANSWERED and connection.deadline <= now


def group_of(client: Any) -> str:
    """Whose a connection is: an IPv4 address, or the network of an IPv6 address, of which one host has as many as it likes."""
    host = client[0] if isinstance(client, tuple) else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or int(address) >> 64)


def _most_connections(pool_size: int) -> int:
    """As many as there may be open files for, with some left for everything else."""
    try:
        files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        # The unit's system calls may not include this question; what systemd gives a unit is this.
        files = 1024
    return max(_OTHER_FILES, min(_MOST_CONNECTIONS, files - pool_size - _OTHER_FILES))
