"""docs/import.md: its lines are imported, its table has the keys of the form, its units are what systemd takes."""

import json
import re
import subprocess

from ansible_collections.homelab.mission_control.plugins.module_utils.cli.main import make_parser
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.json_lines import KEYS
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.registry import FORMS
from command import ROOT, run_command
from transcripts import claude_line, write

PAGE = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def table(heading):
    """The first cells of the table whose first heading is this."""
    _before, _heading, rest = PAGE.partition(f"| {heading} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip() for row in rows]


def test_the_lines_of_the_page_are_imported(database, application, tmp_path):
    (lines,) = blocks("json")
    file = write(tmp_path / "calls.jsonl", [json.loads(line) for line in lines.splitlines()])
    result = run_command(database, "import", "jsonl", str(file))
    assert result.stdout.startswith("Read 1 file (0 unchanged), 2 calls: 2 new, 0 known, 0 held back, 0 refused.")
    rows = application.rows("SELECT * FROM token_usage ORDER BY occurred_at")
    assert [(row["provider"], row["input_tokens"], row["output_tokens"], row["project"]) for row in rows] == [
        ("ollama", 900, 50, None),
        ("openai", 1200, 340, "blog"),
    ]


def test_the_tables_name_each_key_option_and_form():
    assert [name for cell in table("key") for name in re.findall(r"`(\w+)`", cell)] == sorted(
        KEYS, key=lambda name: PAGE.index(f"`{name}`", PAGE.index("| key |"))
    )
    assert [cell.strip("`") for cell in table("form")] == list(FORMS)
    parser = next(action for action in make_parser()._actions if getattr(action, "choices", None)).choices["import"]
    own = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert {cell.strip("`").split()[0] for cell in table("option")} <= own


def test_the_units_of_the_page_are_valid_and_their_command_runs(database, application, tmp_path):
    service, timer = blocks("ini")
    home = tmp_path / "home"
    program = home / ".local/bin/mission-control"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    units = home / "units"
    units.mkdir()
    (units / "mission-control-import.service").write_text(service.replace("%h", str(home)), encoding="utf-8")
    (units / "mission-control-import.timer").write_text(timer, encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in verified.stderr.splitlines() if "mission-control-import" in line] == []
    assert verified.returncode == 0, verified.stderr
    write(home / ".claude/projects/a/s.jsonl", [claude_line()])
    environment = home / ".config/mission-control.env"
    environment.parent.mkdir()
    environment.write_text("", encoding="utf-8")
    environment.chmod(0o600)
    command = re.search(r"^ExecStart=(.*)$", service, re.MULTILINE)[1].replace("%h", str(home)).split()
    assert run_command(database, *command[1:], HOME=str(home)).returncode == 0
    assert application.value("SELECT count(*) FROM token_usage") == 1
    (cron,) = [line for block in blocks("text") for line in block.splitlines() if line.startswith("*/15")]
    assert cron.replace("$HOME", str(home)).split(" >> ")[0].split()[5:] == command
