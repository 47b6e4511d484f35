"""The chart of costs: every day has a bar in its place, as high as its cost."""

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mission_control_service.chart import HEIGHT, WIDTH, cost_chart

FIRST = datetime.date(2026, 10, 25)


def chart(*costs, days=30):
    """Each cost is that of a day: one, or several of the series 0, 1 and so on."""
    parts = [each if isinstance(each, tuple) else (each,) for each in costs]
    given_days = {
        FIRST + datetime.timedelta(days=n): {series: Decimal(str(part)) for series, part in enumerate(day)}
        for n, day in enumerate(parts)
    }
    return cost_chart(given_days, FIRST, days)


def height(bar):
    return sum(part.height for part in bar.segments)


def test_bars_are_as_high_as_their_costs():
    found = chart(10, 5, 0)
    assert [bar.day for bar in found.bars] == [FIRST + datetime.timedelta(days=n) for n in range(30)]
    heights = [height(bar) for bar in found.bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2:] == [0] * 28


def test_the_parts_of_a_bar_stand_on_each_other_as_high_as_their_share():
    low, high = chart((6, 0, 2)).bars[0].segments
    assert (low.series, high.series) == (0, 2)
    assert low.height == pytest.approx(3 * high.height, abs=0.05)
    assert high.y + high.height == pytest.approx(low.y, abs=0.05)
    assert chart((6, 0, 2)).bars[0].value == 8


def test_the_smallest_cost_is_still_seen():
    assert height(chart(1000, "0.0001").bars[1]) > 1


def test_without_costs_there_is_an_empty_chart():
    found = chart()
    assert {bar.segments for bar in found.bars} == {()}
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


@given(st.lists(st.tuples(*[st.decimals("0", "100000", places=6)] * 3), max_size=30))
def test_everything_stays_within_the_picture(costs):
    found = chart(*costs)
    for bar in found.bars:
        assert bar.x >= found.left
        assert bar.x + bar.width <= WIDTH
        for part in bar.segments:
            assert part.y >= 0
            assert part.y + part.height <= HEIGHT
    assert all(0 <= y <= HEIGHT for y, _label in found.lines)
    assert 2 <= len(found.lines) <= 7
