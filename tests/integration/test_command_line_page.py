"""The examples of docs/command-line.md run in a shell as they stand there; so do those of every --help."""

import json
import re
import shlex
import subprocess

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.cli.main import make_parser
from command import LAB_COMMAND, ROOT, environment_of
from mission_control_database import ROLES
from sample_rows import insert_as_superuser
from tool_lab import APPROVER, RESTART, TOOLS, StandInExecutor, provide_tools
from transcripts import claude_line, codex_session, codex_total, write

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
# The run that the examples show.
RUN = "3f2a9c41-0000-4000-8000-000000000000"
# The calls that wait in the examples, by who asked for them.
CALLS = {"5c1d7e20": "assistant", "8f02b6aa": "assistant", "77aa01fe": "assistant", "1e44c09d": "mission_control"}
SHOWN = [
    tool
    for tool in yaml.safe_load((ROOT / "files/tools.yml").read_text(encoding="utf-8"))["tools"]
    if tool["name"] in ("list_hosts", "list_workloads")
]
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = [line for block in _BLOCK.findall(PAGE) for line in block.splitlines()]
EXAMPLES = [line for line in LINES if "mission-control" in line]


def examples_of_help(parser):
    for action in parser._actions:
        for each in dict(getattr(action, "choices", None) or {}).values() if action.dest.endswith("command") else ():
            yield from re.findall(r"^  (.*mission-control .*)$", each.epilog, re.MULTILINE)
            yield from examples_of_help(each)


@pytest.fixture
def shell(database, tmp_path, application):
    """Run a line with the command in place of an installed one, in a directory with one source, of the tests' own connector."""
    application.insert("hosts", name="nas", type="vm", status="online")
    application.insert("llm_budgets", name="homelab", amount_usd=25)
    application.insert("audit_entries", actor="alice", action="count", outcome="success")
    task = application.insert("tasks", title="homelab/site.yml", created_by="test", playbook="homelab/site.yml")
    run = application.insert(
        "task_runs", id=RUN, task_id=task["id"], status="succeeded", finished_at="2026-11-27T18:30:00Z"
    )
    application.insert(
        "playbook_runs",
        task_run_id=run["id"],
        controller="rack",
        run_by="sven",
        check_mode=False,
        ansible_version="2.21.5",
    )
    provide_tools(database, [*TOOLS, *SHOWN])
    tool = application.value("SELECT id FROM tool_definitions WHERE name = %s", RESTART)
    digest = database.session("admin").value("SELECT tool_digest(%s)", tool)
    for beginning, caller in CALLS.items():
        insert_as_superuser(
            application,
            "tool_call_records",
            id=f"{beginning}-0000-4000-8000-000000000000",
            task_run_id=run["id"],
            tool_id=tool,
            tool_digest=digest,
            arguments={"name": "plex"},
            requested_by=caller,
            requested_login="mission_control",
            checked_at="now",
        )
    program = tmp_path / "bin" / "mission-control"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(LAB_COMMAND)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    told = {"hosts": [{"external_id": "rack", "name": "rack"}], "workloads": [{"external_id": "web", "name": "web"}]}
    (place / "lab.json").write_text(json.dumps(told), encoding="utf-8")
    source = {"name": "lab", "connector": "docker", "options": {"file": str(place / "lab.json")}}
    (place / "sources.json").write_text(json.dumps([source]), encoding="utf-8")
    write(place / "spend-logs.csv", [b"request_id,startTime"])
    write(place / "calls.jsonl", [])
    write(place / "claude/projects/home/session.jsonl", [claude_line()])
    write(place / "codex/sessions/session.jsonl", [codex_session(), codex_total((100, 0, 5))])
    (place / "approver-token").write_text(APPROVER, encoding="ascii")
    (place / "approver-token").chmod(0o600)
    environment = environment_of(
        database,
        MISSION_CONTROL_APPROVER_TOKEN=APPROVER,
        CLAUDE_CONFIG_DIR=str(place / "claude"),
        CODEX_HOME=str(place / "codex"),
    )
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"

    # The executor's file has sources of its own.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sources.json").write_text("[]", encoding="utf-8")

    def run(line):
        is_executor = "tools worker" in line
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            cwd=tools if is_executor else place,
            env={**environment, "POSTGRES_USER": ROLES["executor"]} if is_executor else environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    run.place = place
    with StandInExecutor(database):
        yield run


def test_the_examples_of_the_page_run(shell):
    printed = {}
    for line in EXAMPLES:
        result = shell(line)
        assert (result.returncode, result.stderr) == (0, ""), line
        printed[line] = result.stdout
    everything = "\n".join(printed.values())
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    for part in (
        f"mission-control {version}",
        "PASS: ",
        "is current with version",
        "UPDATE 1",
        "nas",
        "sound: ",
    ):
        assert part in everything
    assert len((shell.place / "prices.csv").read_text(encoding="utf-8").splitlines()) > 10
    assert (shell.place / "usage.csv").exists()
    assert printed["mission-control audit head"] == (shell.place / "audit.head").read_text(encoding="ascii")


def test_the_examples_of_the_help_run(shell):
    """Those that the page does not have too."""
    # What stands behind blanks is a remark.
    lines = {re.sub(r"\s{3,}.*", "", line) for line in examples_of_help(make_parser())}
    assert len(lines) > 15
    head = shell("mission-control audit head").stdout.strip()
    for line in sorted(lines - set(EXAMPLES)):
        # A head with an ellipsis is any head.
        result = shell(re.sub(r"12:0f3a…", head, line))
        assert (result.returncode, result.stderr) == (0, ""), line


def test_the_page_has_an_example_of_every_command():
    several = (
        "audit verify",
        "audit head",
        *(f"inventory {word}" for word in ("sources", "preflight", "sync", "worker")),
        "runs show",
        "runs load",
        *(f"tools {word}" for word in ("list", "run", "worker")),
        *(f"calls {word}" for word in ("list", "show", "approve", "deny", "cancel")),
        "budgets set",
        "budgets remove",
    )
    for command in (
        "health",
        "status",
        "hosts",
        "workloads",
        "runs",
        "query",
        "usage",
        "prices",
        "import",
        "tools",
        "calls",
        "mcp",
        "budgets",
        *several,
    ):
        assert any(f"mission-control {command}" in line for line in EXAMPLES)
    assert any("pip install" in line for line in LINES)


def test_the_page_names_only_options_that_there_are():
    def options(parser):
        for action in parser._actions:
            yield from action.option_strings
            for each in (
                dict(getattr(action, "choices", None) or {}).values() if action.dest.endswith("command") else ()
            ):
                yield from options(each)

    known = set(options(make_parser()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert named - known == set()
