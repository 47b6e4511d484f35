"""Answers the requests that connector and tools make of an engine, on a Unix socket that its group may use.

A restart of a container that is listed is a line with its name in the file restarts beside the socket.
"""

import json
import os
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SOCKET, ANSWERS = sys.argv[1:]


def answer(path):
    return json.loads(Path(ANSWERS).read_text(encoding="utf-8"))[path]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(answer(self.path.partition("?")[0])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        container, _slash, action = self.path.partition("?")[0].partition("/containers/")[2].partition("/")
        names = {each["Id"]: each["Names"][0].removeprefix("/") for each in answer("/containers/json")}
        if action != "restart" or container not in names:
            self.send_error(404)
            return
        with Path(SOCKET).with_name("restarts").open("a", encoding="utf-8") as file:
            file.write(f"{names[container]}\n")
        self.send_response(204)
        self.end_headers()

    def address_string(self):
        return "a client of the socket"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


os.umask(0o007)
Server(SOCKET, Handler).serve_forever()
