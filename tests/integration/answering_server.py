"""A small HTTP server in this process, over a Unix socket or by TLS on loopback, that answers as a test wants."""

import http.server
import json
import socketserver
import ssl
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What is sent.

    Attributes:
        reason: of the status line, None: the usual one.
        missing: number of bytes that are announced, and never sent.
        hangs: then nothing more comes, until the server ends, instead of the end of the connection.
    """

    body: bytes
    status: int = 200
    kind: str = "application/json"
    reason: str | None = None
    missing: int = 0
    hangs: bool = False


def as_json(value, status=200, reason=None):
    return Answer(json.dumps(value).encode(), status, reason=reason)


LOGIN_PAGE = Answer(b"<!DOCTYPE html><html><body>Please log in</body></html>", kind="text/html; charset=utf-8")


class AnsweringServer:
    """Context manager around a server.

    `answer(path, headers)` decides, and `answer_post(path, headers, body)` about what is sent by POST;
    `client_authority` is a file with the authority of the certificates that clients must have.
    `asked` holds the paths that were asked for, with their queries.
    """

    def __init__(self, answer, socket_path=None, certificate=None, key=None, client_authority=None, answer_post=None):
        self.asked = []
        self.released = threading.Event()
        handler = _handler(self, answer, answer_post)
        if socket_path is not None:
            self._server = _UnixServer(str(socket_path), handler)
            self.url = f"unix://{socket_path}"
        else:
            self._server = _Server(("127.0.0.1", 0), handler)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if client_authority is not None:
                context.load_verify_locations(client_authority)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, exc_type, exc, traceback):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that ends a handshake or goes away is what some tests are about."""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


def _handler(server, answer, answer_post):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # the name that http.server calls
            server.asked.append(self.path)
            self._send(answer(self.path, self.headers))

        def do_POST(self):
            server.asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._send(answer_post(self.path, self.headers, body))

        def _send(self, given):
            self.send_response(given.status, given.reason)
            self.send_header("Content-Type", given.kind)
            self.send_header("Content-Length", str(len(given.body) + given.missing))
            if 300 <= given.status < 400:
                self.send_header("Location", given.body.decode())
            self.end_headers()
            self.wfile.write(given.body)
            if given.hangs:
                self.wfile.flush()
                server.released.wait()
            if given.missing:
                self.close_connection = True

        def log_message(self, *arguments):
            pass

    return Handler
