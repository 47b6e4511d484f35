#!/usr/bin/env python3
"""Time what roles and privileges cost in a schema with many tables of the homelab's own: plan, carry out, plan again.

Run by `make bench`. Prints seconds of the server's side of a run for 0 to 10,000 tables, first with nothing to do and then with two privileges of
each table to be granted again; there is no limit to pass or fail.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from database_lab import DatabaseLab, bundle_privileges, prepare_cluster
from throwaway_cluster import ThrowawayCluster

COUNTS = (0, 250, 1_000, 2_000, 10_000)
AT_ONCE = 500


def make_tables(lab: DatabaseLab, count: int) -> None:
    """Tables as a site-local migration makes them; in portions, since each holds a lock until the end of its transaction."""
    for first in range(0, count, AT_ONCE):
        tables = "; ".join(
            f"CREATE TABLE site_{number} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)"
            for number in range(first, min(count, first + AT_ONCE))
        )
        lab.query(f"SET ROLE {lab.roles['owner']}; {tables}")


def revoke_everywhere(lab: DatabaseLab, count: int) -> None:
    others = f"{lab.roles['application']}, {lab.roles['readonly']}"
    for first in range(0, count, AT_ONCE):
        tables = ", ".join(f"site_{number}" for number in range(first, min(count, first + AT_ONCE)))
        lab.query(f"REVOKE ALL ON {tables} FROM {others}")


def timed(call, *arguments):
    """What a call returns, and the seconds that it took."""
    started = time.monotonic()
    return call(*arguments), time.monotonic() - started


def run(lab: DatabaseLab, wanted) -> tuple[int, list[float]]:
    """How many statements a run carried out, and the seconds of its three steps."""
    times = []
    for call in (lab.plan, lab.carry_out, lab.plan):
        rows, seconds = timed(call, wanted)
        times.append(seconds)
        if call == lab.carry_out:
            done = len(rows)
    if rows:
        raise RuntimeError(f"something is left to be done: {rows[0]}")
    return done, times


def main() -> None:
    print("tables   statements     plan  carry out   plan again     all")
    with tempfile.TemporaryDirectory() as place, ThrowawayCluster() as cluster:
        prepare_cluster(cluster)
        for count in COUNTS:
            lab = DatabaseLab(cluster, Path(place))
            wanted = {**lab.wanted(), "privileges": bundle_privileges()}
            lab.make(wanted)
            make_tables(lab, count)
            for prepare in (None, revoke_everywhere) if count else (None,):
                if prepare:
                    prepare(lab, count)
                done, times = run(lab, wanted)
                print(
                    f"{count:6,}   {done:10,}  {times[0]:6.2f} s  {times[1]:7.2f} s  {times[2]:9.2f} s  {sum(times):5.2f} s"
                )
            lab.query(f"DROP DATABASE {lab.name} WITH (FORCE)", database="postgres")


if __name__ == "__main__":
    main()
