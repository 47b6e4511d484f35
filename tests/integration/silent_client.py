"""A client that speaks the protocol by hand, so that it can stop to read what the server sends."""

import contextlib
import socket
import struct
import time

_PROTOCOL = 196608
_PATIENCE = 60


class SilentClient:
    """A connection over the Unix socket, where the server asks for no password."""

    def __init__(self, cluster, database, user):
        self._cluster = cluster
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(f"{cluster.socket_directory}/.s.PGSQL.{cluster.port}")
        names = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
        self._socket.sendall(struct.pack(">ii", len(names) + 8, _PROTOCOL) + names)
        self.pid = 0
        self._read_until_ready()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, traceback):
        self._socket.close()
        self._terminate()

    def send(self, sql):
        """Send statements, and read nothing of the answer."""
        text = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">i", len(text) + 4) + text)

    def query(self, sql):
        """Send statements and read the answer."""
        self.send(sql)
        self._read_until_ready()

    def wait_until_it_waits_or_is_done(self):
        """Return when the server process waits for this client, to write or to read."""
        with contextlib.closing(self._cluster.connect()) as connection, connection.cursor() as cursor:
            for _ in range(_PATIENCE * 20):
                cursor.execute(
                    "SELECT state = 'idle' OR wait_event = 'ClientWrite' FROM pg_stat_activity WHERE pid = %s",
                    [self.pid],
                )
                if cursor.fetchone()[0]:
                    return
                time.sleep(0.05)
        raise AssertionError("the server process neither waits for its client nor is done")

    def _read_until_ready(self):
        kind = b""
        while kind != b"Z":
            kind = self._exactly(1)
            (length,) = struct.unpack(">i", self._exactly(4))
            body = self._exactly(length - 4)
            if kind == b"E":
                raise AssertionError(body.replace(b"\0", b" ").decode())
            if kind == b"K":
                (self.pid,) = struct.unpack(">i", body[:4])

    def _exactly(self, size):
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise AssertionError("the server closed the connection")
            received += part
        return received

    def _terminate(self):
        """Its process may still wait for the client; it and what it holds shall be gone when the test goes on."""
        with contextlib.closing(self._cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [self.pid])
