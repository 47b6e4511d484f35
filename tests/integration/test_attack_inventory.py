"""The writer of the inventory under attack: random rows, random walks beside a model, many at once, `kill -9` and a server that is killed.

MISSION_CONTROL_ATTACK_SYNC_KILLS, _SYNC_ROWS and _SYNC_STEPS are the numbers of kills, of random rows and of steps of the walk, and
MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import os
import threading
import time
from decimal import Decimal

import mission_control_database as layer
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import MissionControlError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory import runs
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    HostRow,
    Listing,
    ServiceRow,
    Skipped,
    WorkloadRow,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from inventory_lab import DEPLOYMENT, POD, Lab, client_of, node, nodes, pod, pods, service, services
from processes import wait_for
from restartable_cluster import RestartableCluster

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_SYNC_KILLS", "200"))
ROWS = int(os.environ.get("MISSION_CONTROL_ATTACK_SYNC_ROWS", "10000"))
STEPS = int(os.environ.get("MISSION_CONTROL_ATTACK_SYNC_STEPS", "1500"))
ROUNDS = 20
AT_ONCE = 8
ROWS_AT_ONCE = 25
TABLES = ("hosts", "services", "workloads")


@pytest.fixture
def lab(database):
    lab = Lab(database)
    yield lab
    lab.close()


# Random rows ----------------------------------------------------------------------------------------------------------

_texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(codec=None, categories=["Cs", "Cc", "Lo"]), max_size=5),
    st.sampled_from(
        ["", " ", "\0", "a\0b", "\ud800", "x" * 1024, "é" * 1024, "x" * 2000, "x" * 9000, "\\u0000", "\U0001f980"]
    ),
    st.integers(0, 20).map(lambda size: "ab" * 2**size),
)
_numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(),
    st.booleans(),
    st.sampled_from(
        [0, 1, -1, 2**63, 2**63 - 1, 10**400, 10**4000, 1e308, 5e-324, Decimal("1e-30"), Decimal("1e7"), "7"]
    ),
)
_json = st.recursive(
    st.one_of(st.none(), _texts, _numbers),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(_texts, inner, max_size=5),
        st.tuples(inner, st.sampled_from([1, 60, 200])).map(lambda pair: _nested(*pair)),
        st.tuples(inner, st.sampled_from([1, 1000])).map(lambda pair: [pair[0]] * pair[1]),
    ),
    max_leaves=8,
)
_objects = st.one_of(
    st.dictionaries(_texts, st.one_of(_texts, _json), max_size=4),
    st.just({}),
    st.just({1: "a"}),
    st.just({"a": {1, 2}}),
    st.just([]),
    st.none(),
)


def _nested(value, depth):
    for _ in range(depth):
        value = {"a": value}
    return value


@st.composite
def _any_row(draw, kind, types, **more):
    """A row of which up to three columns hold anything."""
    spoilt = {
        "external_id": st.one_of(_texts, st.none(), _numbers),
        "name": st.one_of(st.none(), _texts, _numbers),
        "labels": _objects,
        "metadata": _objects,
        "unknown": st.one_of(
            st.lists(st.sampled_from(["name", "labels", "status", "host", "oops"])).map(tuple), _texts
        ),
        **({"type": st.one_of(_texts, st.none()), "status": st.one_of(_texts, st.none())} if types else {}),
        **more,
    }
    good = {
        "external_id": st.integers(0, 10**6).map(str),
        "name": st.just("good"),
        **({"type": st.sampled_from(types), "status": st.just("unknown")} if types else {}),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(spoilt)), max_size=3))
    return kind(**{name: draw((spoilt if name in chosen else good)[name]) for name in {*good, *chosen}})


_rows = {
    "hosts": _any_row(
        HostRow,
        ["vm", "bare-metal"],
        cluster=_texts,
        address=_texts,
        os=_texts,
        cpu_cores=_numbers,
        memory_bytes=_numbers,
    ),
    "services": _any_row(ServiceRow, [], namespace=_texts),
    "workloads": _any_row(
        WorkloadRow,
        ["k8s-pod", "docker-container"],
        namespace=_texts,
        host=st.one_of(st.just("anchor"), _texts),
        service=_texts,
        image=_texts,
        replicas_wanted=_numbers,
        replicas_ready=_numbers,
    ),
}
_types = {"hosts": ("vm", "bare-metal"), "services": (), "workloads": ("k8s-pod", "docker-container")}
_anchors = {
    "hosts": HostRow("anchor", "anchor", "vm"),
    "services": ServiceRow("anchor", "anchor"),
    "workloads": WorkloadRow("anchor", "anchor", "k8s-pod", host="anchor", service="anchor"),
}
_snapshots = st.fixed_dictionaries(
    {kind: st.lists(rows, min_size=ROWS_AT_ONCE, max_size=ROWS_AT_ONCE) for kind, rows in _rows.items()}
)


def test_no_row_fails_a_sync(lab):
    """Whatever is in it, it is stored or skipped, and the good row beside it is stored."""
    totals = {"rows": 0, "skipped": 0}

    @given(_snapshots)
    @settings(
        max_examples=ROWS // ROWS_AT_ONCE // 3 + 1,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    def attack(rows):
        listings = [Listing(kind, _types[kind], (_anchors[kind], *rows[kind])) for kind in TABLES]
        result = lab.sync(*listings, accept_disappearance=True)
        assert (result.outcome, result.error) == ("succeeded", None)
        for kind in TABLES:
            counts = dataclasses.asdict(result.counts[kind])
            counts.pop("gone")
            assert sum(counts.values()) == ROWS_AT_ONCE + 1
            assert "anchor" in lab.live(kind)
            totals["rows"] += ROWS_AT_ONCE
            totals["skipped"] += counts["skipped"]
        # What is stored is what is compared: told again, nothing changes.
        assert not lab.sync(*listings, accept_disappearance=True).changed

    attack()
    print(totals)
    assert totals["rows"] >= ROWS
    assert 0.1 < totals["skipped"] / totals["rows"] < 0.9


# A random walk beside a model -----------------------------------------------------------------------------------------


class Model:
    """What the writer has to make of two lists of workloads: the version and whether it is gone, by identifier."""

    def __init__(self):
        self.rows = {}
        self.newest = -math.inf

    def sync(self, minute, lists, accept):
        """lists: for each type its versions by identifier, what is skipped, and whether it is complete."""
        if minute < self.newest:
            return "superseded"
        self.newest = minute
        outcome = "succeeded"
        given = {key for versions, _skipped, _complete in lists.values() for key in versions}
        gone = []
        for kind, (versions, skipped, complete) in lists.items():
            live = {key for key, (stored, _version, is_gone) in self.rows.items() if stored == kind and not is_gone}
            missing = live - given - set(skipped)
            # Of pods the number counts.
            fewer = len(live) - len(versions) - len(skipped) if kind in POD else len(missing)
            if not complete:
                outcome = "failed"
            elif None in skipped or not missing:
                continue
            elif not accept and (not (versions or skipped) or (fewer > 5 and fewer * 10 > len(live) * 3)):
                outcome = "failed"
            else:
                gone += missing
        for key in gone:
            self.rows[key] = (*self.rows[key][:2], True)
        for kind, (versions, _skipped, _complete) in lists.items():
            self.rows.update({key: (kind, version, False) for key, version in versions.items()})
        return outcome


def test_a_random_walk_is_what_the_model_says(lab, dice):
    types = (*POD, *DEPLOYMENT)
    world = {kind: {} for kind in types}
    model = Model()
    minute, removed, outcomes = 0, 0, []
    for step in range(STEPS):
        for kind in types:
            for key in [
                key
                for key in world[kind]
                if dice.random() < dice.choice([0.01, 0.05, 0.5 if dice.random() < 0.1 else 0])
            ]:
                del world[kind][key]
                removed += 1
            for _ in range(dice.randrange(4)):
                world[kind][f"{kind}/{dice.randrange(40)}"] = step
        lists = {}
        for kind in types:
            if dice.random() < 0.1:
                continue
            versions, skipped, complete = dict(world[kind]), [], True
            if dice.random() < 0.15:
                # A list that broke off.
                versions = {key: version for key, version in versions.items() if dice.random() < 0.5}
                complete = False
            elif dice.random() < 0.05:
                # A token that has lost its rights: 200 and nothing.
                versions = {}
            for key in [key for key in versions if dice.random() < 0.03]:
                del versions[key]
                skipped.append(None if dice.random() < 0.2 else key)
            lists[kind] = (versions, skipped, complete)
        minute += 1
        at = minute - dice.randrange(2, 5) if dice.random() < 0.1 else minute
        accept = dice.random() < 0.2
        listings = [
            Listing(
                "workloads",
                (kind,),
                tuple(WorkloadRow(key, f"v{version}", kind) for key, version in versions.items()),
                None if complete else f"The list of {kind} broke off.",
                tuple(Skipped(key, "?", "it is odd") for key in skipped),
            )
            for kind, (versions, skipped, complete) in lists.items()
        ]
        expected = model.sync(at, lists, accept)
        result = lab.sync(*listings, minute=at, accept_disappearance=accept)
        outcomes.append(result.outcome)
        assert result.outcome == expected, f"step {step}"
        stored = {
            key: (row["type"], int(row["name"][1:]), row["gone_at"] is not None) for key, row in lab.rows().items()
        }
        assert stored == model.rows, f"step {step}"
        assert (result.error is None) == (result.outcome == "succeeded")
    # Told once completely, and believed, everything that was truly removed is marked, and nothing else.
    lab.sync(
        *(
            Listing("workloads", (kind,), tuple(WorkloadRow(key, "last", kind) for key in world[kind]))
            for kind in types
        ),
        minute=minute + 1,
        accept_disappearance=True,
    )
    assert lab.live() == {key for kind in types for key in world[kind]}
    assert removed > STEPS / 10
    assert {"succeeded", "failed", "superseded"} == set(outcomes)


# Many at once, and ends in the middle ---------------------------------------------------------------------------------


def version_of(number, rows=400):
    """A snapshot in which every row carries the number, and of which one row in each list is there in this one only."""
    name = f"v{number}"
    own = f"only {number}"
    return (
        nodes(node(own, name), *(node(f"n{n}", name) for n in range(20))),
        services(service(own, name), *(service(f"s{n}", name) for n in range(20))),
        pods(
            pod(own, name, host=own),
            *(pod(f"p{n}", name, host=f"n{n % 20}", service=f"s{n % 20}") for n in range(rows)),
        ),
    )


def stored_version(session):
    """The number of the only snapshot that the tables are; fails where they are a mixture."""
    versions = session.values(
        " UNION ".join(f"SELECT name FROM {table} WHERE source = 'k8s' AND gone_at IS NULL" for table in TABLES)
    )
    assert len(versions) <= 1, f"a half sync: {versions}"
    if not versions:
        return 0
    number = int(versions[0][1:])
    for table in TABLES:
        own = session.values(f"SELECT external_id FROM {table} WHERE gone_at IS NULL AND external_id LIKE 'only %%'")
        assert own == [f"only {number}"]
    minute = session.value("SELECT extract(epoch FROM last_observed_at - '2026-01-01Z') / 60 FROM inventory_sources")
    assert minute == number
    return number


def test_many_syncs_of_one_source_at_once(lab, database, dice):
    """Older snapshots come last, and change nothing."""
    outcomes, errors = [], []
    for turn in range(ROUNDS):
        numbers = [turn * AT_ONCE + each for each in range(1, AT_ONCE + 1)]
        barrier = threading.Barrier(AT_ONCE)

        def write(number, delay, barrier=barrier):
            try:
                snapshot = lab.snapshot(*version_of(number), minute=number)
                with client_of(database) as client:
                    barrier.wait()
                    time.sleep(delay)
                    outcomes.append(sync(client, snapshot).outcome)
            except (MissionControlError, threading.BrokenBarrierError) as error:
                errors.append(error)

        newest = max(numbers)
        threads = [
            threading.Thread(target=write, args=(number, (newest - number) * dice.random() * 0.03))
            for number in numbers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert stored_version(lab.session) == newest
    assert len(outcomes) == ROUNDS * AT_ONCE
    assert set(outcomes) == {"succeeded", "superseded"}
    statuses = lab.session.rows("SELECT status, count(*) AS number FROM task_runs GROUP BY status ORDER BY status")
    assert {row["status"]: row["number"] for row in statuses} == {
        "succeeded": outcomes.count("succeeded"),
        "cancelled": outcomes.count("superseded"),
    }
    assert lab.session.value("SELECT count(*) FROM workloads WHERE external_id LIKE 'p%%'") == 400


@pytest.fixture
def killable():
    """A source on a server that may be killed, and that keeps what it has confirmed."""
    with RestartableCluster(synchronous_commit="on", full_page_writes="on") as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "inventory")
        layer.provision(database)
        lab = Lab(database)
        yield cluster, database, lab
        lab.close()
        database.close()


def write_and_be_killed(database, snapshot, ready):
    """In a process of its own."""
    with client_of(database) as client:
        ready.send(None)
        sync(client, snapshot)


def test_a_sync_that_is_killed_is_whole_or_not_there(killable, dice):
    """Every tenth time it is the server. A next sync succeeds, and no run is left over."""
    cluster, database, lab = killable
    fork = multiprocessing.get_context("fork")
    lab.sync(*version_of(0), minute=0)
    duration = 0.0
    killed = {"before": 0, "after": 0}
    for number in range(1, KILLS + 2):
        before = stored_version(lab.session)
        is_server = number % 10 == 0
        receiving, sending = fork.Pipe(duplex=False)
        process = fork.Process(
            target=write_and_be_killed, args=(database, lab.snapshot(*version_of(number), minute=number), sending)
        )
        process.start()
        receiving.recv()
        if number == 1:
            # The first one shows how long it takes.
            began = time.monotonic()
            process.join()
            duration = time.monotonic() - began
        time.sleep(dice.random() * duration * 1.3)
        if is_server:
            cluster.kill()
        process.kill()
        process.join()
        if is_server:
            cluster.start()
            lab.session.close()
            lab.session = database.session("application")
        # What the server was told to do it may still do, the end included.
        wait_for(
            lambda: (
                lab.session.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
                )
                == 0
            )
        )
        after = stored_version(lab.session)
        assert after in (before, number)
        killed["after" if after == number else "before"] += 1
        running = lab.session.value("SELECT count(*) FROM task_runs WHERE status = 'running'")
        with contextlib.suppress(MissionControlError):
            lab.client.query("SELECT 1")  # the connection of before the server's end
        assert runs.close_abandoned(lab.client) == running
        assert lab.session.value("SELECT count(*) FROM task_runs WHERE status IN ('queued', 'running')") == 0
    print(killed, f"{duration:.3f} s")
    assert min(killed.values()) > 0
    assert lab.sync(*version_of(KILLS + 2), minute=KILLS + 2).outcome == "succeeded"
    assert stored_version(lab.session) == KILLS + 2
    assert lab.session.value("SELECT valid FROM verify_audit_chain()")
