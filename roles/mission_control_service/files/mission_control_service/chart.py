# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A chart of stacked bars as the numbers that a template puts into SVG."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 720
HEIGHT = 240
# The label of a line may be long, and is written larger where the picture is small.
LEFT = 16
_CHARACTER = 12
RIGHT = 8
TOP = 24
BOTTOM = 28
_GAP = 3
_LEAST_HEIGHT = 1.5
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Segment:
    """The part of a day's bar that one series takes, and what it says."""

    y: float
    height: float
    series: int
    value: Decimal


@dataclass(frozen=True)
class Bar:
    """A day: where its bar stands, its parts from the bottom up, and all of them together."""

    x: float
    width: float
    day: datetime.date
    value: Decimal
    segments: tuple[Segment, ...]

    def of(self, series: int) -> Decimal:
        return next((each.value for each in self.segments if each.series == series), _ZERO)


@dataclass(frozen=True)
class Chart:
    """Bars, the lines behind them with their labels, and days that are named below.

    Attributes:
        lines: height of a line, and what it stands for.
        labels: middle of a bar, and the day below it.
    """

    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, str], ...]
    left: int
    width: int = WIDTH
    height: int = HEIGHT
    right: int = WIDTH - RIGHT
    base: int = HEIGHT - BOTTOM


def cost_chart(costs: Mapping[datetime.date, Mapping[int, Decimal]], first: datetime.date, days: int) -> Chart:
    """Costs of so many days from the first on, stacked by the numbers of their series; a day that is missing cost nothing."""
    every = [first + datetime.timedelta(days=number) for number in range(days)]
    values = [sum(costs.get(day, {}).values(), _ZERO) for day in every]
    step = _step(float(max(values)))
    top_value = step * max(1, math.ceil(float(max(values)) / step))
    scale = (HEIGHT - TOP - BOTTOM) / top_value
    lines = []
    for number in range(round(top_value / step) + 1):
        lines.append((round(HEIGHT - BOTTOM - number * step * scale, 1), _amount(number * step, step)))
    left = LEFT + _CHARACTER * max(len(label) for _y, label in lines)
    slot = (WIDTH - left - RIGHT) / days
    bars = []
    labels = []
    for number, (day, value) in enumerate(zip(every, values)):
        x = left + number * slot + _GAP / 2
        segments = _stacked(costs.get(day, {}), value, max(_LEAST_HEIGHT, float(value) * scale))
        bars.append(Bar(round(x, 1), round(slot - _GAP, 1), day, value, segments))
        # Every seventh, counted back from the last one.
        if (days - 1 - number) % 7 == 0:
            labels.append((round(x + (slot - _GAP) / 2, 1), f"{day.day} {day:%b}"))
    return Chart(tuple(bars), tuple(lines), tuple(labels), left)


def _stacked(costs: Mapping[int, Decimal], total: Decimal, height: float) -> tuple[Segment, ...]:
    """The parts of a bar of this height."""
    segments = []
    base = float(HEIGHT - BOTTOM)
    for series, value in sorted(costs.items()):
        if value:
            part = float(value / total) * height
            base -= part
            segments.append(Segment(round(base, 2), round(part, 2), series, value))
    return tuple(segments)


def _step(most: float) -> float:
    """A round distance between lines, of which there are then two to five."""
    if most <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(most))
    for factor in (0.2, 0.5, 1.0):
        if most / (magnitude * factor) <= 5:
            return magnitude * factor
    return magnitude * 2


def _amount(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"${value:,.{decimals}f}"
