"""An application that writes through the library until it is told to stop, and keeps a journal of every acknowledgement.

writer.py DIRECTORY: DIRECTORY/options.json says how (`Options` below); the journals go to DIRECTORY/writer-N.jsonl and reader.jsonl, and it
ends when DIRECTORY/stop exists. Each writer notes a key before it sends it, and after it what the library said, in seconds of the
monotonic clock, which all hosts of one machine share. A line is with the kernel before the call begins, so a killed program loses none.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable

from mission_control import (
    Client,
    CreateTask,
    CreateTaskRun,
    MissionControlError,
    TokenBuckets,
)

EVENT = "INSERT INTO task_events (task_run_id, sequence, type, payload) VALUES (%s, %s, %s, %s)"
ENTRY = "INSERT INTO audit_entries (actor, action, target_id, outcome) VALUES (%s, %s, %s, %s)"
READ = "SELECT pg_is_in_recovery() AS standby, (SELECT sequence FROM audit_head) AS head"
BATCH = 20


class Journal:
    """Notes what is sent and what became of it, one object a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def note(self, **values: Any) -> None:
        self._file.write(json.dumps(values) + "\n")

    def call(self, key: str, kind: str, work: Callable[[], Any]) -> Any:
        """Do it, and note when it began, when it ended, and how; None where it failed."""
        began = time.monotonic()
        self.note(key=key, kind=kind, began=began)
        try:
            result = work()
        except MissionControlError as error:
            self.note(
                key=key,
                ended=time.monotonic(),
                took=time.monotonic() - began,
                error=type(error).__name__,
                in_commit=getattr(error, "in_commit", False),
                message=str(error),
            )
            return None
        ended = time.monotonic()
        self.note(key=key, ended=ended, took=ended - began)
        return result


class Writer:
    """One thread: a task run of its own, whose events it counts."""

    def __init__(self, client: Client, drill: str, number: int, kinds: list[str], journal: Journal) -> None:
        self.client, self.actor, self.name, self.kinds, self.journal = (
            client,
            drill,
            f"{drill}.{number}",
            kinds,
            journal,
        )
        job = client.insert(CreateTask(title=drill, created_by="drill"))
        self.run = client.insert(CreateTaskRun(task_id=job.id, status="running")).id
        self.sequence = 0

    def pair(self, key: str) -> bool:
        """An audit entry and an event, in one transaction."""
        with self.client.transaction() as transaction:
            transaction.query(ENTRY, [self.actor, "write", key, "success"])
            transaction.query(EVENT, [self.run, self.sequence, "log", {"key": key}])
        return True

    def batch(self, key: str) -> bool:
        """Twenty of each, in one transaction, by as few statements as the library makes of them."""
        rows = [(f"{key}/{part}", self.sequence * 1000 + part) for part in range(BATCH)]
        with self.client.transaction() as transaction:
            transaction.execute_many(ENTRY, [(self.actor, "write", part, "success") for part, _ in rows])
            transaction.execute_many(EVENT, [(self.run, 10**9 + number, "log", {"key": part}) for part, number in rows])
        return True

    def llm(self, key: str) -> bool:
        """A call of a language model: a single statement outside a transaction, which writes three tables."""
        self.client.record_llm_call(
            provider="anthropic",
            model="drill",
            usage=TokenBuckets(input_tokens=1),
            content=key,
            source=self.actor,
            external_id=key,
        )
        return True

    def event(self, key: str) -> bool:
        """An event alone, by a single statement outside a transaction."""
        self.client.query(EVENT, [self.run, self.sequence, "log", {"key": key}])
        return True

    def entry(self, key: str) -> bool:
        """An audit entry alone, likewise."""
        self.client.query(ENTRY, [self.actor, "write", key, "success"])
        return True

    def work(self, stop: Callable[[], bool], pause: float) -> None:
        while not stop():
            for kind in self.kinds:
                self.sequence += 1
                key = f"{self.name}.{self.sequence}"
                if self.journal.call(key, kind, lambda kind=kind, key=key: getattr(self, kind)(key)) is None:
                    time.sleep(0.05)
                if stop():
                    return
            time.sleep(pause)


def read(client: Client, journal: Journal, stop: Callable[[], bool]) -> None:
    number = 0
    while not stop():
        number += 1
        rows = journal.call(f"read {number}", "read", lambda: [dict(client.query_one(READ) or {})])
        if rows:
            journal.note(key=f"read {number}", **rows[0])
        time.sleep(0.05)


def main() -> None:
    place = Path(sys.argv[1])
    options = json.loads((place / "options.json").read_text())
    ended: list[str] = []

    def stop() -> bool:
        return bool(ended) or (place / "stop").exists()

    def guarded(work: Callable[..., None], *arguments: Any) -> None:
        """What raises anything but the library's own errors ends the whole program, which is then a finding."""
        try:
            work(*arguments)
        except BaseException:
            ended.append(traceback.format_exc())
            raise

    client = Client(**options["settings"])
    writers = [
        Writer(client, options["drill"], number, options["kinds"], Journal(place / f"writer-{number}.jsonl"))
        for number in range(options["threads"])
    ]
    threads = [threading.Thread(target=guarded, args=(each.work, stop, options["pause"])) for each in writers]
    if options["reader"]:
        reader = Client(**options["reader"])
        threads.append(threading.Thread(target=guarded, args=(read, reader, Journal(place / "reader.jsonl"), stop)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (place / "ended").write_text("\n".join(ended))
    client.disconnect()


main()
