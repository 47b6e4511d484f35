"""The chart of costs: every day has a bar in its place, as high as its cost."""

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mission_control_service.chart import HEIGHT, WIDTH, cost_chart

FIRST = datetime.date(2026, 10, 25)


def chart(*costs, days=30):
    given_days = {FIRST + datetime.timedelta(days=n): Decimal(str(cost)) for n, cost in enumerate(costs)}
    return cost_chart(given_days, FIRST, days)


def test_bars_are_as_high_as_their_costs():
    found = chart(10, 5, 0)
    assert [bar.day for bar in found.bars] == [FIRST + datetime.timedelta(days=n) for n in range(30)]
    heights = [bar.height for bar in found.bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2:] == [0.0] * 28


def test_the_smallest_cost_is_still_seen():
    assert chart(1000, "0.0001").bars[1].height > 1


def test_without_costs_there_is_an_empty_chart():
    found = chart()
    assert {bar.height for bar in found.bars} == {0.0}
    assert [label for _y, label in found.lines] == ["$0", "$1"]


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        ("25.4", ["$0", "$10", "$20", "$30"]),
        ("0.004", ["$0.000", "$0.001", "$0.002", "$0.003", "$0.004"]),
        ("1234", ["$0", "$500", "$1,000", "$1,500"]),
    ],
)
def test_lines_stand_at_round_amounts(most, labels):
    assert [label for _y, label in chart(most).lines] == labels


@given(st.lists(st.decimals("0", "100000", places=6), max_size=30))
def test_everything_stays_within_the_picture(costs):
    found = chart(*costs)
    for bar in found.bars:
        assert bar.x >= found.left
        assert bar.x + bar.width <= WIDTH
        assert bar.y >= 0
        assert bar.y + bar.height <= HEIGHT
    assert all(0 <= y <= HEIGHT for y, _label in found.lines)
    assert 2 <= len(found.lines) <= 7
