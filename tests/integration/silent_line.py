"""A line to a server that can fall silent, as a network does that is cut: nothing is refused, and nothing comes any more."""

import contextlib
import select
import socket
import threading


class SilentLine:
    """Listens on a port of this machine, and hands on to the Unix socket of a server, where no password is asked for.

    While it is `silent` nothing goes through in either direction, and new connections are taken and held. `held_calls` is the same for
    new connections alone, such as the request to cancel a statement.
    """

    def __init__(self, cluster):
        self._address = f"{cluster.socket_directory}/.s.PGSQL.{cluster.port}"
        self._through = threading.Event()
        self._through.set()
        self._calls = threading.Event()
        self._calls.set()
        self._ended = False
        self.calls = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, traceback):
        self._ended = True
        self._through.set()
        self._calls.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextlib.contextmanager
    def silent(self):
        self._through.clear()
        try:
            yield
        finally:
            self._through.set()

    @contextlib.contextmanager
    def held_calls(self):
        self._calls.clear()
        try:
            yield self._calls.set
        finally:
            self._calls.set()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                self.calls += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self._calls.wait()
        self._through.wait()
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._address)
            while not self._ended:
                for source in select.select([client, server], [], [], 1)[0]:
                    text = source.recv(65536)
                    self._through.wait()
                    if not text:
                        return
                    (server if source is client else client).sendall(text)
