"""The command line without a database: help, wrong usage, and how text and numbers are laid out."""

import argparse
import dataclasses
import datetime
import decimal
import os
import pathlib
import stat

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head import AuditError, AuditHead
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head_file import AuditHeadFile
from ansible_collections.homelab.mission_control.plugins.module_utils.cli.main import main, make_parser
from ansible_collections.homelab.mission_control.plugins.module_utils.cli.output import (
    csv_line,
    display_width,
    printable,
    share_bar,
    table,
    table_or_records,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.cli.usage import (
    money,
    short_count,
    table_lines,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.report import (
    COUNTS,
    Period,
    UsageReport,
    UsageRow,
)


def parsers(parser=None, name="mission-control"):
    """Every command with its parser."""
    parser = parser or make_parser()
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, each in action.choices.items():
                yield from parsers(each, f"{name} {word}")


ALL = dict(parsers())


def test_there_are_the_commands():
    words = (
        "",
        " health",
        " status",
        " hosts",
        " workloads",
        " query",
        " usage",
        " prices",
        " import",
        " audit",
        " audit verify",
        " audit head",
    )
    words += (" inventory", " inventory sources", " inventory preflight", " inventory sync", " inventory worker")
    words += (" runs", " runs show", " runs load", " budgets", " budgets set", " budgets remove")
    words += (" tools", " tools list", " tools run", " tools worker", " mcp")
    words += (" calls", *(f" calls {word}" for word in ("list", "show", "approve", "deny", "cancel")))
    assert set(ALL) == {f"mission-control{word}" for word in words}


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_a_description_and_an_example_of_itself(name):
    parser = ALL[name]
    assert len(parser.description) > 40
    _text, _heading, examples = parser.epilog.partition("examples:\n")
    assert f"  {name}" in examples
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert all(choice.help for choice in action._choices_actions)
            continue
        assert action.help, f"{name} {action.option_strings} says nothing of itself"


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_every_command_names_no_password_option_and_the_ways_that_there_are(name, capsys):
    assert main([*name.split()[1:], "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: {name}" in text
    assert "--password" not in text
    if name not in ("mission-control audit", "mission-control inventory"):
        assert "POSTGRES_PASSWORD" in text
        assert ".pgpass" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "A command is needed"),
        (["audit"], "Audit needs a command, verify or head"),
        (["inventory"], "Inventory needs a command, sources, preflight, sync or worker"),
        (["inventory", "sync", "--file", "/no/such"], "The file of sources /no/such cannot be read: No such file"),
        (["runs", "shaw"], "invalid choice: 'shaw'"),
        (["runs", "--status", "queued"], "invalid choice: 'queued'"),
        (["runs", "show"], "The following arguments are required: ID"),
        (["runs", "show", "3f2a", "--follow", "--json"], "leave out either --follow or --json"),
        (["runs", "load", "--spool", "/nowhere/at/all"], "There is no directory '/nowhere/at/all'"),
        (["hosts", "--status", "asleep"], "invalid choice: 'asleep'"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["init"], "`ansible-playbook site.yml` (in a checkout also `make site`) creates the database"),
        (["--host", "db", "migrate"], "`ansible-playbook playbooks/migrate.yml` applies pending migrations"),
        (["migrate:status"], "`mission-control status` compares the migrations"),
        (["--database", "init", "nonsense"], "invalid choice: 'nonsense'"),
        (["query", "--csv", "--json", "SELECT 1"], "not allowed with argument"),
        (["query", "-v", "s3cret", "SELECT 1"], "a variable is written NAME=VALUE"),
        (["query", "-v", "1=s3cret", "SELECT 1"], "a variable is written NAME=VALUE"),
        (["query", "--limit", "-1", "SELECT 1"], "a whole number is needed"),
        (["query", "SELECT 1", "s3cret"], "more arguments than the command takes"),
        (["query", "--secret=s3cret", "SELECT 1"], "There is no option --secret"),
        (["status", "--password", "s3cret"], "A password is never an option"),
        (["status", "-W"], "A password is never an option"),
        (["--url", "postgresql://me:s3cret@db/lab", "status"], "The URL of --url holds a password"),
        (["status", "--url", "postgresql://db/lab?password=s3cret"], "The URL of --url holds a password"),
        (["status", "--url", "postgresql://db/lab", "--env-file", "/x"], "Give either --url or --env-file"),
        (["status", "--url", "mysql://me:s3cret@db"], "must begin with postgresql://"),
        (["status", "--port", "many"], "port must be a port number"),
        (["status", "--sslmode", "maybe"], "sslmode must be one of"),
        (["status", "--env-file", "/nowhere/at.all"], "/nowhere/at.all cannot be read"),
        (["usage", "--by", "provider,colour"], "not by 'colour'"),
        (["usage", "--by", "day,day"], "each column is named once"),
        (["usage", "--since", "2026-02-30"], "a day is written like 2026-03-29, not '2026-02-30'"),
        (["usage", "--since", "20260228"], "a day is written like 2026-03-29"),
        (["usage", "--since", "2026-02-01", "--days", "3"], "not allowed with argument"),
        (["usage", "--days", "0"], "1 or more"),
        (["audit", "verify", "--expected-head", "12"], "a number, a colon and 64 hexadecimal digits"),
        (["audit", "verify", "--head-file", "/nowhere/at/all"], "its directory is missing or not writable"),
        (["audit", "verify", "--head-file", "x", "--expected-head", f"1:{'0' * 64}"], "not allowed with argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_2(words, sentence, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("mission-control: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert "s3cret" not in printed.err


@pytest.mark.parametrize(
    "words",
    [
        ["health", "--nonsense"],
        ["health", "--timeout", "0"],
        ["health", "--timeout", "soon"],
        ["health", "--threshold", "colour=3"],
        ["health", "--threshold", "connections_warn=most"],
        ["health", "--threshold", "connections_warn=-1"],
        ["health", "--threshold", "connections_warn=0.9", "--threshold", "connections_fail=0.8"],
        ["health", "--port", "many"],
        ["--url", "nonsense", "health"],
        ["--nonsense", "health"],
    ],
)
def test_for_nagios_wrong_usage_of_health_is_unknown(words, capsys):
    assert main(words) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_the_version_is_that_of_the_collection(capsys):
    assert main(["--version"]) == 0
    galaxy = yaml.safe_load((pathlib.Path(__file__).parents[2] / "galaxy.yml").read_text(encoding="utf-8"))
    assert capsys.readouterr().out == f"mission-control {galaxy['version']}\n"


def test_a_table_is_aligned_by_what_a_terminal_shows():
    lines = table(["name", "n"], [["漢字", "1"], ["é", "1,000"], ["e\u0301", "20"], ["", ""]], right=[1])
    assert lines == ["name      n", "漢字      1", "é     1,000", "e\u0301        20", ""]


def test_wide_rows_are_folded_at_blanks_and_numbers_are_not():
    rows = [["disk", "a message of several words, and one_that_is_very_long_indeed", "12,345"], ["漢字 " * 9, "", "1"]]
    for width in range(30, 90):
        texts = table(["check", "message", "n"], rows, right=[2], width=width)
        assert len(texts) == 3
        lines = "\n".join(texts).split("\n")
        assert max(map(display_width, lines)) <= width
        assert "12,345" in texts[1].split("\n")[0]
        assert "".join(texts[1].split()).replace("12,345", "") == "".join("".join(rows[0][:2]).split())
    assert table(["check", "message", "n"], rows, right=[2], width=200) == table(
        ["check", "message", "n"], rows, right=[2]
    )


def test_what_a_terminal_would_obey_is_shown():
    assert printable("a\nb\tc\x1b[31m\u202e\x9b") == "a\\nb\\tc\\u001b[31m\\u202e\\u009b"
    assert table(["x"], [["two\nlines"]]) == ["x", "two\\nlines"]


@pytest.mark.parametrize("width", range(24, 60))
def test_headings_and_columns_that_are_read_as_a_whole_are_not_folded(width):
    texts = table(["origin", "a_long_heading", "at"], [["o" * 30, "x y " * 9, "2026-11-27"]], width=width, whole=[2])
    assert texts[0].split() == ["origin", "a_long_heading", "at"]
    assert texts[1].split("\n")[0].endswith("  2026-11-27")
    assert texts[1].count("o") == 30


def test_a_row_with_more_columns_than_fit_is_a_block_of_lines():
    headings, row = [f"column_{number}" for number in range(9)], ["x", "12", "漢字 " * 20, *"abcdef"]
    assert table_or_records(headings, [row]) == table(headings, [row])
    texts = table_or_records(headings, [row, row], right=[1], width=40)
    lines = [line for text in texts for line in text.split("\n")]
    assert max(map(display_width, lines)) <= 40
    assert [line for line in lines if line.startswith("row")] == ["row       1", "row       2"]
    assert (lines.count("column_1  12"), lines.count("column_8  f"), lines.count("")) == (2, 2, 1)
    assert "".join(lines).count("漢字") == 40
    assert table_or_records(["n" * 60], [], width=40) == ["n" * 60]


def test_a_bar_is_as_long_as_its_share_and_never_gone():
    assert share_bar(1, 8, True) == "█" * 8
    assert share_bar(0.5, 8, True) == "████"
    assert share_bar(0.55, 8, True) == "████▍"
    assert share_bar(0.0001, 8, True) == "▏"
    assert share_bar(0, 8, True) == ""
    assert share_bar(0.5, 8, False) == "####"
    assert share_bar(0.0001, 8, False) == "#"
    assert share_bar(0, 8, False) == ""


def test_csv_tells_null_from_an_empty_text():
    assert csv_line(["a", None, "", 'say "x"', "b,c", "d\ne", " f"]) == 'a,,"","say ""x""","b,c","d\ne"," f"'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (9994, "9.99k"),
        (9996, "10.0k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (10**15, "1,000T"),
    ],
)
def test_numbers_of_tokens_are_short(number, text):
    assert short_count(number) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0.0000"), ("0.00001", "<0.0001"), ("0.0001", "0.0001"), ("1234.56789", "1,234.5679")],
)
def test_a_cost_is_never_shown_as_nothing(amount, text):
    assert money(decimal.Decimal(amount)) == text


def report(*rows):
    """Rows of (provider, model, calls, cost)."""
    day = datetime.date(2026, 3, 1)
    at = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
    made = [
        UsageRow(
            {"provider": provider, "model": model},
            {**dict.fromkeys(COUNTS, 1000), "calls": calls, "unpriced_calls": 0},
            decimal.Decimal(cost),
            None,
        )
        for provider, model, calls, cost in rows
    ]
    return UsageReport(Period("UTC", day, day, at, at, day), ("provider", "model"), tuple(made), made[0])


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 200])
@pytest.mark.parametrize("blocks", [True, False])
def test_the_table_of_usage_fits_the_terminal(width, blocks):
    long_name = "a-model-with-a-name-that-somebody-thought-of-on-a-long-and-rainy-afternoon"
    lines = table_lines(
        report(("openai", long_name, 12_345, "1234.5678"), ("github-models", "x", 1, "617.2839")), width, blocks
    )
    assert max(display_width(part) for line in lines for part in line.split("\n")) <= width
    mark = "█" if blocks else "#"
    assert lines[1].count(mark) >= (10 if width >= 80 else 1)
    assert lines[2].count(mark) in (lines[1].count(mark) // 2, (lines[1].count(mark) + 1) // 2)
    parts = lines[1].split("\n")
    assert (len(parts) > 1) == (width < 200)
    start = parts[0].index("a-model")
    assert "".join(part[start:].split()[0] for part in parts) == long_name


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80])
def test_a_day_is_shown_as_a_whole_on_any_terminal(width):
    days = [datetime.date(2026, 11, day) for day in range(1, 4)]
    found = report(*[("openai", "gpt-4o", 12_345, "1234.5678") for _day in days])
    rows = [dataclasses.replace(row, group={"day": day, "model": "m" * 30}) for row, day in zip(found.rows, days)]
    lines = table_lines(dataclasses.replace(found, by=("day", "model"), rows=rows), width, True)
    assert [line[:10] for line in lines[1:4]] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert lines[1].count("m") == 30


def test_a_label_that_fits_without_a_bar_is_not_shortened():
    lines = table_lines(report(("openai", "gpt-4o-mini-2024-07-18", 12_345, "1234.5678")), 72, True)
    assert "gpt-4o-mini-2024-07-18" in lines[1]


def test_a_terminal_that_is_too_narrow_for_a_bar_still_shows_the_numbers():
    lines = table_lines(report(("openai", "gpt-4o", 12_345, "1234.5678")), 30, True)
    assert "1,234.5678" in lines[1]
    assert "█" not in "".join(lines)


HEAD = AuditHead(12, bytes(range(32)))


def test_a_head_file_is_made_read_and_replaced(tmp_path):
    path = tmp_path / "audit.head"
    file = AuditHeadFile(str(path))
    assert file.read() is None
    file.write(HEAD)
    assert path.read_text(encoding="ascii") == f"{HEAD}\n"
    path.chmod(0o640)
    newer = AuditHead(13, bytes(32))
    file.write(newer)
    assert file.read() == newer
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["audit.head"]


def test_a_head_file_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "head")
    AuditHeadFile(str(link)).write(HEAD)
    assert link.is_symlink()
    assert AuditHeadFile(str(tmp_path / "real" / "head")).read() == HEAD


@pytest.mark.parametrize("content", [b"", b"12", b"\xff\xfe", b"POSTGRES_PASSWORD=s3cret\n", b"x" * 5000])
def test_a_file_that_holds_something_else_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="does not hold a head") as caught:
        AuditHeadFile(str(path)).read()
    assert "s3cret" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_head_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "audit.head"
    file = AuditHeadFile(str(path))
    file.write(HEAD)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AuditError, match="No space left on device"):
        file.write(AuditHead(13, bytes(32)))
    monkeypatch.undo()
    assert file.read() == HEAD
    assert os.listdir(tmp_path) == ["audit.head"]
