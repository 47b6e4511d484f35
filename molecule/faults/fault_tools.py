"""What the tests of faults share: an application at work, waiting, and the statements that look at the server."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

PASSWORD = "application-password"
DATABASE = "mission_control"
# What the library raises where the server is away, named by their classes.
LOST = {"ConnectionLostError", "ConnectError", "PoolTimeoutError"}


SLOW = "CREATE TABLE site_fast (id integer); CREATE TABLE site_slow AS SELECT pg_sleep({seconds}) IS NULL AS slept;"
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mission_control migrations'"
SITE_TABLES = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname IN ('site_fast', 'site_slow')"


def wait_until(condition, seconds: int = 90) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)


def address(host) -> str:
    return host.check_output("hostname --all-ip-addresses").split()[0]


def sentence(run) -> str:
    """What the last task that failed said, on one line."""
    return " ".join(run.output.split("fatal: ")[-1].split("PLAY RECAP")[0].split())


class Writer:
    """The program writer.py on a host: it writes rows until it is stopped, and notes what became of each."""

    def __init__(self, host, server: str, port: int, name: str) -> None:
        self.host, self.place = host, f"/root/{name}"
        host.check_output(f"mkdir {self.place}")
        host.check_output(
            f"systemd-run --quiet --unit {name} --setenv PYTHONPATH=/opt python3 /opt/writer.py {server} {port} {PASSWORD} {self.place}"
        )

    def notes(self) -> list[dict]:
        lines = self.host.check_output(f"cat {self.place}/notes 2>/dev/null || true").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def written(self) -> int:
        return sum(1 for note in self.notes() if note["written"])

    def failures(self) -> list[dict]:
        return [note for note in self.notes() if not note["written"]]

    def goes_on(self) -> None:
        """Return when it has written more than until now."""
        before = self.written()
        wait_until(lambda: self.written() > before + 3)

    def stop(self) -> None:
        self.host.check_output(f"touch {self.place}/stop")
        name = self.place.rpartition("/")[2]
        wait_until(lambda: self.host.run(f"systemctl is-active {name}").stdout.strip() != "active")
        result = self.host.run(f"journalctl --unit {name} --no-pager --output cat").stdout
        assert "Traceback" not in result, result

    def check(self, labels: list[str]) -> None:
        """`labels` are those that the database has: every row that was committed is there, once, and none that was not."""
        notes = self.notes()
        assert len(labels) == len(set(labels))
        committed = {note["label"] for note in notes if note["written"]}
        unknown = {note["label"] for note in notes if note["written"] is None}
        assert committed
        assert committed <= set(labels) <= committed | unknown


@contextmanager
def writing(host, server, port, name, query):
    """A writer at work; at the end it is stopped, and what it wrote is compared with what the database has."""
    query("DELETE FROM services WHERE name LIKE 'row %'")
    before = query("SELECT coalesce(max(id), 0) FROM audit_entries")
    writer = Writer(host, server, port, name)
    try:
        writer.goes_on()
        yield writer
    finally:
        writer.stop()
    writer.check(query("SELECT name FROM services WHERE name LIKE 'row %'").splitlines())
    writer.check(query(f"SELECT target_id FROM audit_entries WHERE id > {before} AND actor = 'writer'").splitlines())
    assert query("SELECT valid FROM verify_audit_chain()") == "t"
