"""Answers the two requests that the connector makes of an engine, on a Unix socket that its group may use."""

import json
import os
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SOCKET, ANSWERS = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        body = json.dumps(json.loads(Path(ANSWERS).read_text(encoding="utf-8"))[path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "a client of the socket"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


os.umask(0o007)
Server(SOCKET, Handler).serve_forever()
