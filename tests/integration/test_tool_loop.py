"""The whole loop with a real model: question, call of a tool by the model, a person's approval, the executor, the answer.

The program is that of docs/mcp.md, unchanged; the model is SmolLM2 with 135 million parameters (scripts/real-model).
"""

import os
import re
import shlex
import subprocess
import sys

import pytest
from command import COMMAND, environment_of
from executor_lab import RESTART, ROOT, ExecutorLab
from library_client import client_of
from tool_lab import APPROVER, ASSISTANT

PAGE = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TOOL = {
    "name": RESTART,
    "description": "Restarts a container.",
    "connector": "docker",
    "operation": "restart_container",
    "risk_level": "SAFE_MUTATE",
    "arguments_schema": {
        "type": "object",
        "properties": {"source": {"enum": ["lab"]}, "container": {"enum": ["web", "db"]}},
        "required": ["source", "container"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def address():
    with subprocess.Popen(
        [str(ROOT / "scripts" / "real-model")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()


@pytest.fixture
def lab(database, tmp_path):
    lab = ExecutorLab(database, tmp_path, [TOOL], ())
    lab.start()
    yield lab
    lab.end()


@pytest.fixture
def start(database, address, tmp_path):
    """Starts the program with a question and the names of tools."""
    place = tmp_path / "program"
    (place / "bin").mkdir(parents=True)
    (place / "mission_control").symlink_to(ROOT / "plugins" / "module_utils")
    (place / "assistant.py").write_text(PROGRAM, encoding="utf-8")
    command = place / "bin" / "mission-control"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = environment_of(database, OLLAMA_URL=address, MODEL="smollm2", MISSION_CONTROL_TOOL_TOKEN=ASSISTANT)
    environment["PATH"] = f"{command.parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] += f"{os.pathsep}{place}"
    return lambda *words: subprocess.Popen(
        [sys.executable, "assistant.py", *words],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_model_calls_a_tool_a_person_approves_and_the_model_answers(database, lab, start):
    lab.tell({"web": {}, "db": {}})
    program = start("The web server hangs: restart it.", RESTART)
    said = program.stdout.readline()
    assert said.startswith("The model calls {"), (said, program.stderr.read())
    told = program.stdout.readline()
    (call_id,) = re.findall("mission-control calls approve ([0-9a-f-]{36})", told)
    with client_of(database, tool_token=APPROVER) as alice:
        assert [call.requested_by for call in alice.tools.waiting()] == ["assistant"]
        assert lab.acts == []
        assert alice.tools.approve(call_id, "go on").accepted
        answer, err = program.communicate(timeout=600)
        assert program.returncode == 0, err
        assert answer.strip()
        call = alice.tools.call(call_id)
    assert (call.status, call.approved_by, call.tool_name) == ("succeeded", "alice", RESTART)
    assert lab.acts == [("restart", call.arguments["container"])]
    # One run has all of it: the call, both calls of the model, and their tokens.
    application = database.session("application")
    (run,) = application.rows("SELECT id, status FROM task_runs WHERE user_prompt IS NOT NULL")
    assert (run["id"], run["status"]) == (str(call.task_run_id), "succeeded")
    counted = application.rows(
        "SELECT r.model, u.input_tokens, u.output_tokens, u.cost_source FROM llm_requests AS r "
        "JOIN token_usage AS u ON u.request_id = r.id AND u.task_run_id = r.task_run_id WHERE r.task_run_id = %s",
        str(call.task_run_id),
    )
    assert [row["model"] for row in counted] == ["smollm2"] * 2
    assert all(row["input_tokens"] > 0 and row["output_tokens"] > 0 for row in counted)
    events = application.rows("SELECT action FROM audit_entries WHERE target_id = %s ORDER BY id", call_id)
    assert [row["action"] for row in events] == [
        f"tool_call.{each}" for each in ("request", "approve", "start", "finish")
    ]
