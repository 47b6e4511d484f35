"""The examples of docs/ledger.md run, in their order, in a program that imports the library under its own name."""

import pathlib

from page_examples import run_examples

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "ledger.md"


def test_the_examples_of_the_page_run(database, tmp_path):
    count, result = run_examples(PAGE, database, tmp_path)
    assert count == 6
    assert result.returncode == 0, result.stderr
    assert result.stdout == "0.024500000000 computed\n0 costs became known\n"
    assert database.session("admin").value("SELECT count(*) FROM token_usage") == 4
