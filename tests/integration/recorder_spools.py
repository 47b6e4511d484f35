"""Files of recorded runs, also of those that the loader has removed, and what of them is to be in the database."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

_EVENTS = """
SELECT sequence, type, payload FROM task_events WHERE task_run_id = %s AND type <> 'error' ORDER BY sequence
"""


class SpoolKeeper:
    """Context manager that has opened every file of a run in a spool, so that it can be read when the loader has removed it."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._files: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SpoolKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        for descriptor in self._files.values():
            os.close(descriptor)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._look()

    def _look(self) -> None:
        for path in self._spool.glob("*.jsonl"):
            if path.stem not in self._files:
                with contextlib.suppress(FileNotFoundError):
                    self._files[path.stem] = os.open(path, os.O_RDONLY)

    def lines(self) -> dict[str, list[dict]]:
        """The whole lines of each file, by the identifier of its run."""
        return {run: self._lines_of(descriptor) for run, descriptor in self._files.items()}

    @staticmethod
    def _lines_of(descriptor: int) -> list[dict]:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return [json.loads(line) for line in content.split(b"\n")[:-1]]


def events_of(lines):
    """The rows that the lines of a run's file are to become: (sequence, type, payload without what is not known)."""
    return [
        (line["seq"], line["type"], {name: value for name, value in line["payload"].items() if value is not None})
        for line in lines
        if "payload" in line
    ]


def stored_events(session, run):
    return [tuple(row.values()) for row in session.rows(_EVENTS, run)]
