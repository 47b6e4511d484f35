"""docs/schema.md shows the database as the SQL files make it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))

import er_diagram


def test_the_committed_page_is_current(shared_database):
    expected = er_diagram.render(shared_database.session("admin"))
    assert er_diagram.PAGE.read_text(encoding="utf-8") == expected, "run `make docs`"
