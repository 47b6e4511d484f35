"""Drills: an application writes to the cluster, something goes wrong, and every acknowledgement is compared with what is there afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from drill_hosts import Cluster, Host, StuckError, wait_until
from drill_judge import DATABASE, LONGEST_CALL, Call, figures, judge, longest, read_journal, rows_of
from drill_kinds import KINDS, TTL, Kind

# "" for the three of every day, "all" for each kind in each way, a number for so many by lot, or names of kinds (KIND or KIND:WAY);
# "rates" for the figures that belong to none.
DRILLS = os.environ.get("MISSION_CONTROL_DRILLS", "")
SEED = int(os.environ.get("MISSION_CONTROL_ATTACK_SEED") or random.randrange(10**6))
THREADS = 4
BEFORE = 1000
# Of every thread, one after the other.
CALLS = [*["pair"] * 12, "batch", *["pair"] * 6, "llm", "event"]
# What the rates are of: events and audit entries alone, in a transaction each, and twenty of both in one.
RATES = (*(("event", threads) for threads in (1, 4, 16)), *(("entry", threads) for threads in (1, 4, 16)), ("batch", 4))
DEFAULT = (("kill_host", "list"), ("cut_leader", "list"), ("freeze_patroni", "proxy"))


class Load:
    """The program writer.py at work on the application's host."""

    def __init__(self, client: Host, name: str, options: dict[str, Any]) -> None:
        self.client, self.place, self.unit = client, f"/root/drills/{name}", f"drill-{name}"
        client.run(f"rm --recursive --force {self.place}; mkdir --parents {self.place}")
        client.write(f"{self.place}/options.json", json.dumps({"drill": name, **options}))
        client.run(
            f"systemd-run --quiet --collect --unit {self.unit} --setenv PYTHONPATH=/opt python3 /opt/writer.py {self.place}"
        )

    def _count(self, pattern: str) -> int:
        return int(self.client.run(f"cat {self.place}/writer-*.jsonl 2>/dev/null | grep '\"ended\"' | {pattern}; true"))

    def acknowledged(self) -> int:
        return self._count("grep --count --invert-match '\"error\"'")

    def failures(self) -> int:
        return self._count("grep --count '\"error\"'")

    def goes_on(self, calls: int) -> None:
        """Return when so many more calls were acknowledged than until now."""
        before = self.acknowledged()

        def enough() -> bool:
            if self.client.attempt(f"test -e {self.place}/ended || ! systemctl is-active {self.unit}")[0] == 0:
                raise StuckError("the application has ended")
            return self.acknowledged() >= before + calls

        wait_until(enough, f"{calls} more acknowledgements")

    def stop(self) -> str:
        """Let it end; what it says of errors that are not the library's."""
        self.client.run(f"touch {self.place}/stop")
        wait_until(
            lambda: self.client.attempt(f"systemctl is-active {self.unit}")[0] != 0, "the end of the application"
        )
        code, said = self.client.attempt(f"cat {self.place}/ended")
        return said.strip() if code == 0 else self.client.attempt(f"journalctl --unit {self.unit} --output cat")[1]

    def journal(self, files: str) -> list[str]:
        return self.client.run(f"cat {self.place}/{files} 2>/dev/null; true", timeout=120).splitlines()


class Migration:
    """A site-local migration that takes long, and the run that applies it."""

    def __init__(self, drill: Drill, start: Callable[[int], Callable[[], tuple[int, str]]]) -> None:
        self._drill, self._start = drill, start

    def begin(self) -> None:
        self._outcome = self._start(600)
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: self._drill.leader.sql(sleeping) == "1", "a migration under way")

    def fails_and_is_made_up_for(self) -> None:
        code, said = self._outcome()
        tables = "SELECT count(*) FROM pg_class WHERE relname IN ('site_fast', 'site_slow')"
        leader = self._drill.cluster.leader()
        if code == 0 or "Traceback" in said or leader.sql(tables, DATABASE) != "0":
            self._drill.finding(
                f"The migration ended with {code} and left {leader.sql(tables, DATABASE)} tables: {said[-2000:]}"
            )
        code, said = self._start(0)()
        if code != 0 or leader.sql(tables, DATABASE) != "2":
            self._drill.finding(f"The migration was not made up for: {said[-2000:]}")


class Drill:
    """One drill: the hosts as they were when it began, what was noted of it, and its findings."""

    threads = THREADS

    def __init__(self, drills: Drills, name: str, kind: Kind, way: str) -> None:
        self.drills, self.cluster, self.name, self.kind, self.way = drills, drills.cluster, name, kind, way
        self.notes: dict[str, Any] = {}
        self.findings: list[str] = []
        self.moments: dict[str, float] = {}
        self.calls: list[Call] = []
        self.reads: list[Call] = []
        # Whether acknowledged calls may be missing in the end; their number is told.
        self.may_lose = not kind.synchronous
        self._load: Load | None = None
        self.look()

    def look(self) -> None:
        """Who leads, which standby is synchronous, and which is the other one."""
        self.leader = self.cluster.leader()
        state = self.leader.state() or {}
        rest = [each for each in self.cluster.members if each is not self.leader]
        synchronous = [each["name"] for each in state["standbys"] if each["sync"] in ("sync", "quorum")]
        self.standby = next((each for each in rest if each.name in synchronous), rest[0])
        self.other = next(each for each in rest if each is not self.standby)
        self.timeline = state["timeline"]

    def note(self, **values: Any) -> None:
        self.notes.update(values)

    def finding(self, sentence: str) -> None:
        self.findings.append(sentence)

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """The application writes while this is open, and has done so a thousand times when it begins."""
        options = {**self.drills.options(self.way, self.leader), "threads": THREADS, "kinds": CALLS, "pause": 0.002}
        self._load = Load(self.cluster.client, self.name, options)
        try:
            self._load.goes_on(BEFORE + 50)
            yield
            self.whole()
        finally:
            self.moments.setdefault("fault", time.monotonic())
            self.moments.setdefault("healed", time.monotonic())
            said = self._load.stop()
            if said:
                self.finding(f"The application ended: {said[-3000:]}")
            self.calls = read_journal(self._load.journal("writer-*.jsonl"))
            self.reads = read_journal(self._load.journal("reader.jsonl"))

    def fault(self, work: Callable[[], Any] = lambda: None) -> None:
        """It happens now."""
        self.moments["fault"] = time.monotonic()
        work()

    def healed(self) -> None:
        self.moments["healed"] = time.monotonic()

    def heal(self, work: Callable[[], Any]) -> None:
        self.healed()
        work()

    def whole(self) -> None:
        """Wait until the cluster is whole again, and note how long after it was healed that is."""
        self.cluster.settle(self.kind.synchronous)
        self.notes.setdefault("rejoin", round(time.monotonic() - self.moments["healed"], 2))

    def new_leader(self, *, any_host: bool = False) -> Host:
        """Wait until another host leads, or with any_host until one does."""

        def found() -> Host | None:
            return next((each for each in self.cluster.primaries() if any_host or each is not self.leader), None)

        leader: Host = wait_until(found, "a new leader")
        self.note(new_leader=round(time.monotonic() - self.moments["fault"], 2))
        return leader

    def while_nothing_is_renewed(self) -> None:
        """For longer than a leader may stay one without renewing its lock; says whether another one came."""
        deadline = time.monotonic() + TTL
        wait_until(
            lambda: time.monotonic() > deadline or self.cluster.primaries() not in ([], [self.leader]), "another leader"
        )
        self.note(failed_over=self.cluster.primaries() != [self.leader])

    def switch_over(self, leader: Host, candidate: Host) -> None:
        self.cluster.patronictl(
            self.other, f"switchover --force --leader {leader.name} --candidate {candidate.name}", timeout=60
        )

    def failures(self) -> int:
        assert self._load
        return self._load.failures()

    def writes_go_on(self, calls: int = 200) -> None:
        assert self._load
        self._load.goes_on(calls)

    @contextlib.contextmanager
    def migration(self) -> Iterator[Migration]:
        try:
            yield Migration(self, self.drills.start_migration)
        finally:
            self.cluster.leader().sql(
                "DELETE FROM schema_migrations WHERE origin = 'site'; DROP TABLE IF EXISTS site_slow, site_fast",
                DATABASE,
            )

    def judged(self) -> dict[str, Any]:
        """What came of it, when the cluster is whole again."""
        leader = self.cluster.leader()
        judgement = judge(self.calls, rows_of(leader, self.name), may_lose=self.may_lose)
        self.findings += judgement.findings
        result = figures(self.calls, self.moments["fault"], self.moments["healed"])
        result.update(lost=judgement.lost, unknown_there=judgement.unknown_there, longest_read=longest(self.reads))
        result["reads"] = sum(each.acknowledged for each in self.reads)
        result["read_errors"] = dict(Counter(each.error for each in self.reads if not each.acknowledged))
        if result["before"] < BEFORE or not result["after"] + result["during"]:
            self.finding(
                f"{result['before']} acknowledgements before the fault, {result['after']} after it was healed."
            )
        slowest = max(result["longest_call"], result["longest_read"])
        if slowest > LONGEST_CALL:
            self.finding(f"A call took {slowest} s.")
        state = leader.state() or {}
        result["timeline"] = [self.timeline, state.get("timeline")]
        self.findings += self.drills.broken_chains(leader)
        return result


class Drills:
    """All drills of a run, one after the other; the journal of what came of each is a file, one object a line.

    Args:
        cluster: the hosts.
        settings: the application's `Settings` by way, "list" (whose host the drill says) and "proxy", and "reader".
        journal: the file.
        start_migration: begins a site-local migration that sleeps so many seconds, and returns what waits for its exit code and output.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: dict[str, dict[str, Any]],
        journal: Path,
        start_migration: Callable[[int], Callable[[], tuple[int, str]]],
    ) -> None:
        self.cluster, self.settings, self.journal, self.start_migration = cluster, settings, journal, start_migration
        # Up to here the chain is verified: the digest of the head of each drill.
        self._verified: tuple[str, str] | None = None
        journal.parent.mkdir(parents=True, exist_ok=True)

    def options(self, way: str, leader: Host) -> dict[str, Any]:
        settings = dict(self.settings[way])
        if way == "list":
            # The one that is about to be the stale one comes first.
            hosts = [leader, *(each for each in self.cluster.members if each is not leader)]
            settings["host"] = ",".join(each.address for each in hosts)
        return {"settings": settings, "reader": self.settings["reader"]}

    def broken_chains(self, leader: Host) -> list[str]:
        """Verify the audit chain on the leader and on a standby, from where the last drill left it; what is wrong, in sentences."""
        found = []
        standby = next(each for each in self.cluster.members if each is not leader)
        at = "NULL, NULL" if self._verified is None else f"{self._verified[0]}, '\\x{self._verified[1]}'"
        question = (
            "SELECT valid, verified, head_sequence, encode(head_digest, 'hex'), first_bad_sequence, problem "
            f"FROM verify_audit_chain(NULL, NULL, {at})"
        )
        position = leader.sql("SELECT pg_current_wal_lsn()")
        wait_until(
            lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t", "a standby that follows"
        )
        heads = []
        for host in (leader, standby):
            answer = host.sql(question, DATABASE, timeout=300)
            valid, _, sequence, digest, *_ = answer.split("|")
            heads.append((sequence, digest))
            if valid != "t":
                found.append(f"The audit chain on {host} is broken: {answer}.")
        if heads[0] != heads[1]:
            found.append(f"The heads of the audit chain differ: {leader} {heads[0]}, {standby} {heads[1]}.")
        if not found:
            self._verified = heads[0]
        return found

    def run(self, number: int, kind: Kind, way: str) -> dict[str, Any]:
        """One drill. Its `findings` are sentences; none if all is as it has to be."""
        name = f"{number:03d}-{time.time_ns() // 10**9 % 10**6}"
        began = time.monotonic()
        if not kind.synchronous:
            self.cluster.set_synchronous(False)
        drill = Drill(self, name, kind, way)
        stuck = ""
        result: dict[str, Any] = {}
        try:
            kind.run(drill)
        except StuckError as error:
            stuck = str(error)
            for host in (*self.cluster.members, self.cluster.client):
                with contextlib.suppress(StuckError):
                    host.repair()
        try:
            self.cluster.settle(kind.synchronous)
            if drill.calls:
                result = drill.judged()
        except StuckError as error:
            stuck = f"{stuck} {error}".strip()
        if stuck or not drill.calls:
            drill.finding(f"Stuck: {stuck}")
        if not kind.synchronous:
            self.cluster.set_synchronous(True)
        result = {
            "drill": name,
            "kind": kind.name,
            "way": way,
            "leader": drill.leader.name,
            "seconds": round(time.monotonic() - began, 1),
            **drill.notes,
            **result,
            "findings": drill.findings[:20],
        }
        with self.journal.open("a") as file:
            file.write(json.dumps(result) + "\n")
        self._keep(drill)
        return result

    def _keep(self, drill: Drill) -> None:
        """The application's own journals: here if there is something to be found out, else they go."""
        place = f"/root/drills/{drill.name}"
        if drill.findings:
            kept = self.journal.parent / f"{self.journal.stem}-{drill.name}"
            kept.mkdir(parents=True, exist_ok=True)
            names = self.cluster.client.run(f"ls {place}").split()
            for name in (each for each in names if each.endswith(".jsonl")):
                (kept / name).write_text(self.cluster.client.run(f"cat {place}/{name}", timeout=120))
        self.cluster.client.run(f"rm --recursive --force {place}")

    def rates(self, seconds: float = 5) -> dict[str, dict[str, float]]:
        """Commits a second, by what is written and by how many threads, with and without synchronous mode; in the journal, too."""
        found: dict[str, dict[str, float]] = {}
        for synchronous in (True, False):
            self.cluster.set_synchronous(synchronous)
            mode = "synchronous" if synchronous else "asynchronous"
            found[mode] = {f"{call} by {threads}": self._rate(call, threads, seconds) for call, threads in RATES}
        self.cluster.set_synchronous(True)
        with self.journal.open("a") as file:
            file.write(json.dumps({"kind": "rates", **found}) + "\n")
        return found

    def _rate(self, call: str, threads: int, seconds: float) -> float:
        name = f"rate-{call}-{threads}"
        options = {**self.options("list", self.cluster.leader()), "reader": None}
        load = Load(self.cluster.client, name, {**options, "threads": threads, "kinds": [call], "pause": 0})
        load.goes_on(threads * 2)
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        load.stop()
        calls = read_journal(load.journal("writer-*.jsonl"))
        self.cluster.client.run(f"rm --recursive --force {load.place}")
        done = sum(each.acknowledged and began < (each.ended or 0) <= ended for each in calls)
        return round(done / (ended - began), 1)


def chosen(how: str, seed: int) -> list[tuple[Kind, str]]:
    """The drills of a run, as `DRILLS` says it."""
    every = [(kind, way) for kind in KINDS.values() for way in kind.ways]
    if how == "rates":
        return []
    if not how:
        return [(KINDS[name], way) for name, way in DEFAULT]
    if how == "all":
        return every
    if how.isdigit():
        lot = random.Random(seed)
        drawn: list[tuple[Kind, str]] = []
        while len(drawn) < int(how):
            # Each as often as any other, in an order of their own.
            drawn += lot.sample(every, len(every))
        return drawn[: int(how)]
    names = how.split(",")
    return [
        (KINDS[name], way)
        for name, _, given in (each.partition(":") for each in names)
        for way in KINDS[name].ways
        if given in ("", way)
    ]


def line(result: dict[str, Any]) -> str:
    """A result for people, on one line."""
    shown = {key: value for key, value in result.items() if key not in ("findings", "kind", "way")}
    return f"{result['kind']} by {result['way']}: " + ", ".join(f"{key} {value}" for key, value in shown.items())
