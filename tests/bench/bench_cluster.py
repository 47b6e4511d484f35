#!/usr/bin/env python3
"""Print what the drills on the cluster of three have measured, out of their journals (.cache/cluster/drills-*.jsonl).

Run by `make bench`. The figures are made by the drills themselves, which take hosts of their own and about a minute each:
MISSION_CONTROL_DRILLS=all scripts/molecule cluster. Medians, lowest and highest; there is no limit to pass or fail.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
COLUMNS = {
    "gap": "longest gap between acknowledgements",
    "new_leader": "until another leader",
    "rejoin": "until the cluster is whole, after it was healed",
    "longest_call": "longest call",
}


def spread(values: list[float]) -> str:
    if not values:
        return f"{'-':>23}"
    return f"{statistics.median(values):7.2f} ({min(values):5.2f} to {max(values):6.2f})"


def main() -> None:
    journals = sorted(PROJECT.glob(".cache/cluster/drills-*.jsonl"))
    results = [json.loads(line) for journal in journals for line in journal.read_text().splitlines()]
    if not results:
        print("   no drills have been run: MISSION_CONTROL_DRILLS=all scripts/molecule cluster")
        return
    drills = [each for each in results if "acknowledged" in each]
    print(
        f"   {len(drills)} drills, {sum(each['acknowledged'] for each in drills):,} acknowledged calls, "
        f"{sum(each['lost'] for each in drills)} lost; seconds:"
    )
    print("   " + f"{'':42}" + "".join(f"{name:>26}" for name in COLUMNS))
    for kind, way in sorted({(each["kind"], each["way"]) for each in drills}):
        same = [each for each in drills if (each["kind"], each["way"]) == (kind, way)]
        figures = [spread([each[name] for each in same if name in each]) for name in COLUMNS]
        print(f"   {f'{kind} by {way}':<36} {len(same):>4} " + "".join(f"{figure:>26}" for figure in figures))
    for name, meaning in COLUMNS.items():
        print(f"   {name}: {meaning}")
    for rates in (each for each in results if each["kind"] == "rates"):
        for mode in ("synchronous", "asynchronous"):
            figures = ", ".join(f"{name} {figure:,.0f}" for name, figure in rates[mode].items())
            print(f"   commits a second, {mode}, by threads: {figures}")


if __name__ == "__main__":
    main()
