"""Faults under load: no acknowledged write is lost, none is there by half, and the audit chain is whole, whatever goes wrong."""

from __future__ import annotations

import pytest
from drills import DRILLS, SEED, Drills, chosen, line

CHOSEN = list(enumerate(chosen(DRILLS, SEED), 1))


@pytest.mark.parametrize(
    ("number", "kind", "way"),
    [pytest.param(number, kind, way, id=f"{number}-{kind.name}-{way}") for number, (kind, way) in CHOSEN],
)
def test_drill(drills: Drills, number, kind, way):
    # After the drill before, Patroni may choose another synchronous standby once more.
    drills.cluster.settle(synchronous=True)
    result = drills.run(number, kind, way)
    print(line(result))
    assert not result["findings"], f"MISSION_CONTROL_ATTACK_SEED={SEED}, {line(result)}\n" + "\n".join(
        result["findings"]
    )


if DRILLS in ("all", "rates"):

    def test_rates(drills: Drills):
        """Figures, which nothing asserts."""
        print(drills.rates())
