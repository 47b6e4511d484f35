"""Look into the places where a run could leave a secret."""

from __future__ import annotations

import contextlib
import os
import threading
import time


class SecretWatch:
    """Context manager that looks at the process list and at the server's sessions for as long as it is open.

    The environment of a process is not looked at: only its own user and root can, and pg_dump takes its password there.
    """

    def __init__(self, cluster):
        self._connection = cluster.connect()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.command_lines = set()
        self.activity = set()
        self.looks = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def _look(self):
        with self._connection.cursor() as cursor:
            while not self._stop.is_set():
                self.command_lines.update(_command_lines())
                cursor.execute("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
                self.activity.update(row[0] for row in cursor.fetchall() if row[0])
                self.looks += 1
                time.sleep(0.01)


def _command_lines():
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
            yield file.read().decode("utf-8", "replace")


def files_below(directory, *but):
    """The text of all files below a directory, by their paths, without those that are named."""
    found = {}
    for place, _folders, names in os.walk(directory):
        for name in names:
            path = os.path.join(place, name)
            if path not in but and os.path.isfile(path) and not os.path.islink(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    found[path] = file.read()
    return found
