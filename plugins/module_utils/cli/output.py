# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the commands print: tables and bars for people, CSV and JSON for programs.

Data for programs is UTF-8 whatever the locale says. Text for people is in the encoding of the terminal, and what that
lacks is written as an escape.
"""

from __future__ import annotations

import datetime
import decimal
import json
import os
import re
import shutil
import sys
import unicodedata
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TextIO

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2"}
_LEAST_COLUMN = 8
_PARTS = " ▏▎▍▌▋▊▉"


def printable(text: str) -> str:
    """The text on one line, without characters that a terminal would obey."""
    return _CONTROL.sub(lambda found: _NAMED.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int] = (),
    width: int | None = None,
    whole: Collection[int] = (),
) -> list[str]:
    """The rows of a table whose columns are aligned: those in `right` to the right, the others to the left.

    Where it is wider than `width` columns of a terminal, long cells are folded, and a row is several lines of its text. Headings and
    the columns in `right` and `whole` keep their width: half a number or half a date is read as another.
    """
    cells = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = column_widths(cells)
    if width is not None:
        widths = fitted(widths, column_widths(cells[:1]), {*right, *whole}, width)
    return [_row(row, widths, right) for row in cells]


def table_or_records(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[int] = (),
    width: int | None = None,
    whole: Collection[int] = (),
) -> list[str]:
    """A table, or, where it has more columns than fit beside each other, a block of lines for each row."""
    texts = table(headings, rows, right, width, whole)
    if not rows or width is None or max(display_width(line) for text in texts for line in text.split("\n")) <= width:
        return texts
    blocks = []
    for number, row in enumerate(rows, 1):
        names, values = ["row", *headings], [str(number), *row]
        blocks += ["", *table([names[0], values[0]], zip(names[1:], values[1:]), width=width, whole=[0])]
    return blocks[1:]


def column_widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(display_width, column)) for column in zip(*cells)]


def _row(cells: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    folded = [fold(cell, width) for cell, width in zip(cells, widths)]
    lines = []
    for number in range(max(map(len, folded), default=1)):
        parts = []
        for column, (pieces, width) in enumerate(zip(folded, widths)):
            piece = pieces[number] if number < len(pieces) else ""
            blanks = " " * (width - display_width(piece))
            parts.append(blanks + piece if column in right else piece + blanks)
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def fitted(widths: Sequence[int], least: Sequence[int], whole: Collection[int], width: int) -> list[int]:
    """The widths of columns, the widest made narrower until the table fits, or nothing more can be folded."""
    widths = list(widths)
    for _excess in range(sum(widths) + 2 * (len(widths) - 1) - width):
        can = [
            each for each in range(len(widths)) if each not in whole and widths[each] > max(least[each], _LEAST_COLUMN)
        ]
        if not can:
            break
        widths[max(can, key=widths.__getitem__)] -= 1
    return widths


def fold(text: str, width: int) -> list[str]:
    """The text in lines that are not wider, broken at blanks where there are any."""
    lines = [""]
    for word in re.findall(r" *[^ ]+| +$", text):
        if lines[-1] and display_width(lines[-1] + word) > width:
            lines.append("")
            word = word.lstrip(" ")
        for character in word:
            if lines[-1] and display_width(lines[-1]) + _character_width(character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def share_bar(share: float, width: int, blocks: bool) -> str:
    """A bar for a share from 0 to 1 of the width. A share above 0 is always to be seen."""
    if not blocks:
        length = round(share * width)
        return "#" * (max(1, length) if share > 0 else 0)
    eighths = round(share * width * 8)
    eighths = max(1, eighths) if share > 0 else 0
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_PARTS[part] if part else "")


def csv_line(cells: Iterable[str | None]) -> str:
    """A line as PostgreSQL's COPY writes it: None is nothing, an empty text is a pair of quotes."""
    return ",".join(_csv_cell(cell) for cell in cells)


def _csv_cell(cell: str | None) -> str:
    if cell is None:
        return ""
    if cell and not re.search(r'[",\r\n]', cell) and cell == cell.strip():
        return cell
    return '"' + cell.replace('"', '""') + '"'


class Output:
    """Where a command prints to.

    Attributes:
        width: columns of the terminal; None if the output does not go to one.
        blocks: whether bars may be drawn with block characters.
    """

    def __init__(self, stream: TextIO | None = None, notes: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._notes = notes or sys.stderr
        self._terminal = self._stream.isatty()
        self._live = self._notes.isatty()
        self._progress = ""
        given = os.environ.get("COLUMNS", "")
        known = self._terminal or (given.isdigit() and int(given) > 0)
        self.width = shutil.get_terminal_size().columns if known else None
        self.blocks = _shows_utf8(self._stream)
        self._coloured = self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        """A line for people."""
        self.clear_progress()
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def sentence(self, text: str) -> None:
        """A line for people that is folded where the terminal is narrower."""
        self.line("\n".join(fold(text, self.width or len(text) or 1)))

    def data(self, text: str) -> None:
        """A line for programs, in UTF-8."""
        raw = getattr(self._stream, "buffer", None)
        if raw is None:
            self._stream.write(text + "\n")
        else:
            raw.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def json(self, value: Any) -> None:
        self.data(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_json_text))

    def json_line(self, value: Any) -> None:
        self.data(json.dumps(value, ensure_ascii=False, allow_nan=False, default=_json_text))

    def note(self, text: str) -> None:
        """A line on standard error, for people and beside the data."""
        self.clear_progress()
        encoding = self._notes.encoding or "ascii"
        self._notes.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._notes.flush()

    def colour(self, text: str, name: str) -> str:
        """The text in a colour, where there is a terminal that shows it and nobody asked for none."""
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self._coloured else text

    def progress(self, text: str) -> None:
        """A line on the terminal that the next one replaces; nothing where standard error is no terminal."""
        if self._live:
            self._notes.write("\r" + text + " " * (len(self._progress) - len(text)))
            self._notes.flush()
            self._progress = text

    def clear_progress(self) -> None:
        if self._progress:
            self._notes.write("\r" + " " * len(self._progress) + "\r")
            self._notes.flush()
            self._progress = ""

    def flush(self) -> None:
        self.clear_progress()
        self._stream.flush()


def _json_text(value: Any) -> str:
    """What JSON has no form for. A decimal is text, as a JSON number would lose digits where it is read."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _shows_utf8(stream: TextIO) -> bool:
    """Python writes UTF-8 in the locale C too, whose terminals do not show it."""
    if (stream.encoding or "").lower().replace("-", "") != "utf8":
        return False
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = os.environ.get(name)
        if value:
            return "utf8" in value.lower().replace("-", "")
    return False
