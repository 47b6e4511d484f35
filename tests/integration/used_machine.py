"""Run a command beside a server that is none, and say who turned to it: used_machine.py COMMAND [ARGUMENT …]

A program for the private namespaces of test_surroundings.py. It listens where libpq looks by itself, on port 5432 and at the
sockets of Debian's and PostgreSQL's own builds, and ends with a line of JSON behind what the command has printed.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

ENV_FILE = pathlib.Path("/etc/mission-control/database.env")
_SOCKETS = ("/var/run/postgresql",)


def listeners(alone):
    """Sockets that take part in nothing; those in directories of the machine only where these are ours `alone`."""
    for directory in filter(os.path.isdir, _SOCKETS if alone else ()):
        if directory != "/tmp":
            subprocess.run(["mount", "-t", "tmpfs", "used-machine", directory], check=True)
            os.chmod(directory, 0o777)
        path = os.path.join(directory, ".s.PGSQL.5432")
        if not os.path.exists(path):
            yield bound(socket.AF_UNIX, path)
    if alone:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield bound(socket.AF_INET, ("127.0.0.1", 5432))


def bound(family, address):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    return listener


def note(listener, visits):
    while True:
        with contextlib.closing(listener.accept()[0]) as visitor:
            visits.append(f"{listener.getsockname()}: {visitor.recv(200)!r}")


def main(alone, *command):
    visits = []
    for listener in listeners(alone == "alone"):
        threading.Thread(target=note, args=(listener, visits), daemon=True).start()
    before = ENV_FILE.stat().st_atime_ns if ENV_FILE.exists() else None
    done = subprocess.run(command, check=False)
    after = ENV_FILE.stat().st_atime_ns if ENV_FILE.exists() else None
    print(
        json.dumps(
            {"returncode": done.returncode, "visits": visits, "planted": before is not None, "read": before != after}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
