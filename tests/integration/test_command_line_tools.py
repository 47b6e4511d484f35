"""`mission-control tools` and `mission-control calls`: what people see, call and decide."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest
from command import COMMAND, environment_of, run_command, run_process, start_command
from library_client import client_of
from tool_lab import (
    APPROVER,
    ASSISTANT,
    LIST,
    REMOVE,
    RESTART,
    StandInExecutor,
    provide_tools,
    task_run,
)

HOSTILE = "evil\x1b]0;owned\x07\u202e"
AS_ASSISTANT = {"MISSION_CONTROL_TOOL_TOKEN": ASSISTANT}
AS_ALICE = {"MISSION_CONTROL_APPROVER_TOKEN": APPROVER}


@pytest.fixture
def lab(database):
    provide_tools(database)
    return database


@pytest.fixture
def executor(lab):
    with StandInExecutor(lab) as executor:
        yield executor


@pytest.fixture
def waiting(lab, executor):
    """Makes a call that waits for a person, and gives its identifier."""

    def make(name="plex"):
        with client_of(lab, tool_token=ASSISTANT) as client:
            answer = client.tools.request(RESTART, {"name": name}, task_run_id=task_run(client))
            return str(client.tools.wait(answer.call_id, until=lambda call: call.waits_for_approval).id)

    return make


def runs(database):
    return [
        (row["title"], row["status"], row["error"])
        for row in database.session("application").rows(
            "SELECT t.title, r.status, r.error FROM task_runs AS r JOIN tasks AS t ON t.id = r.task_id "
            "WHERE t.created_by = 'mission-control tools' ORDER BY r.created_at"
        )
    ]


def refused(result, sentence, code=1):
    assert (result.returncode, result.stdout) == (code, "")
    assert re.fullmatch(f"mission-control: {sentence}\n", result.stderr), result.stderr


def test_the_list_says_what_the_policies_say_to_me(lab):
    result = run_command(lab, "tools", role="readonly")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines()]
    assert lines[0] == ["tool", "risk", "you", "policy", "connector", "what it does"]
    assert {line[0]: line[1:3] for line in lines[1:-1]} == {
        "greet": ["READ_ONLY", "allowed"],
        LIST: ["READ_ONLY", "allowed"],
        REMOVE: ["DESTRUCTIVE", "denied"],
        RESTART: ["SAFE_MUTATE", "needs approval"],
    }
    listed = json.loads(run_command(lab, "tools", "--json").stdout)
    assert [tool["decision"]["effect"] for tool in listed] == ["allow", "allow", "deny", "require_approval"]
    unknown = run_command(lab, "tools", MISSION_CONTROL_TOOL_TOKEN="x" * 32)
    assert unknown.stderr == "The token in MISSION_CONTROL_TOOL_TOKEN is not known, so that every call is denied.\n"
    assert "allowed" not in unknown.stdout


def test_a_tool_is_run_and_its_run_is_closed(lab, executor):
    result = run_command(lab, "tools", "run", LIST, "-a", "kind=vm", "-a", "most=3", **AS_ASSISTANT)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"things": ["nas", "plex"], "kind": "vm", "most": 3}
    # A text that looks like a number stays one where the tool wants text.
    result = run_command(lab, "tools", "run", LIST, "-a", "kind=5", "--json", **AS_ASSISTANT)
    call = json.loads(result.stdout)
    assert (call["arguments"], call["requested_by"], call["status"]) == ({"kind": "5"}, "assistant", "succeeded")
    assert runs(lab) == [(f"tool {LIST}", "succeeded", None)] * 2


def test_arguments_come_from_a_file_or_standard_input(lab, executor, tmp_path):
    path = tmp_path / "arguments.json"
    path.write_text('{"kind": "host"}', encoding="utf-8")
    run_command(lab, "tools", "run", LIST, "--arguments", str(path))
    run_command(lab, "tools", "run", LIST, "--arguments", "-", stdin=b'{"kind": "vm"}')
    assert [arguments["kind"] for _tool, arguments in executor.done] == ["host", "vm"]
    for text in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        refused(
            run_command(lab, "tools", "run", LIST, "--arguments", "-", stdin=text),
            r"The arguments in - are no JSON object, such as \{\}\.",
            2,
        )


def test_a_result_moves_no_terminal(lab, executor):
    executor.works[LIST] = lambda _arguments: f"first\n{HOSTILE}"
    result = run_command(lab, "tools", "run", LIST)
    assert result.stdout == "first\nevil\\u001b]0;owned\\u0007\\u202e\n"


def test_a_denied_call_ends_the_command_with_the_reason(lab, executor):
    refused(run_command(lab, "tools", "run", REMOVE), r"The call \S+ of remove_thing was denied: .*DESTRUCTIVE.*\.")
    refused(run_command(lab, "tools", "run", "nothing"), r"The call of nothing was denied: .*")
    refused(
        run_command(lab, "tools", "run", LIST, "-a", "most=0"), r"The arguments of list_things are wrong: .*most.*", 2
    )
    refused(run_command(lab, "tools", "run", LIST, "-a", "most"), r"An argument is written NAME=VALUE, not 'most'\.", 2)
    for words in (("\udcff",), (LIST, "--key", "\udcff")):
        refused(
            run_command(lab, "tools", "run", *words), r"The name of the tool, and the key, must be text in UTF-8\.", 2
        )
    assert [(status, error is not None) for _title, status, error in runs(lab)] == [("failed", True)] * 3


def test_a_call_that_needs_approval_says_how_it_is_given(lab, executor):
    process = start_command(lab, "tools", "run", RESTART, "-a", "name=plex", "--wait", "60")
    told = process.stderr.readline().decode()
    (call_id,) = re.findall("mission-control calls approve ([0-9a-f-]{36})", told)
    listed = run_command(lab, "calls", "--waiting")
    assert 'name="plex"' in listed.stdout
    assert listed.stdout.endswith("(1 call waiting)\n")
    result = run_command(lab, "calls", "approve", call_id[:13], "--reason", "after the backup", **AS_ALICE)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == 'Approved: restart_thing name="plex", asked for by mission_control.\n'
    out, _err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)) == (0, {"done": True})
    assert runs(lab) == [(f"tool {RESTART}", "succeeded", None)]


def test_a_command_that_stops_waiting_says_so(lab):
    result = run_command(lab, "tools", "run", LIST, "--wait", "0.2")
    refused(
        result,
        r"The call \S+ of list_things is allowed and waits for the executor, mission-control-tools\.service\. The command stopped waiting after 0\.2 seconds\.",
    )
    assert [status for _title, status, _error in runs(lab)] == ["cancelled"]


def test_a_key_gives_the_same_call_again(lab, executor):
    for _again in range(2):
        result = run_command(lab, "tools", "run", LIST, "--key", "monday", "--json")
        assert json.loads(result.stdout)["status"] == "succeeded"
    assert len(executor.done) == 1
    assert len(runs(lab)) == 1


def test_ctrl_c_withdraws_a_call_that_has_not_begun(lab):
    process = start_command(lab, "tools", "run", LIST)
    application = lab.session("application")
    deadline = time.monotonic() + 60
    while application.value("SELECT count(*) FROM tool_call_overview") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert application.value("SELECT status FROM tool_call_overview") == "cancelled"
    assert runs(lab) == [(f"tool {LIST}", "cancelled", "The command was ended by a signal.")]


def test_a_command_that_was_killed_is_closed_by_the_next(lab, executor):
    executor.holds.set()
    process = start_command(lab, "tools", "run", LIST)
    application = lab.session("application")
    deadline = time.monotonic() + 60
    while application.value("SELECT count(*) FROM tool_call_overview") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    executor.holds.clear()
    assert run_command(lab, "tools", "run", LIST).returncode == 0
    assert runs(lab) == [
        (f"tool {LIST}", "failed", "The program that it belongs to ended without closing it."),
        (f"tool {LIST}", "succeeded", None),
    ]


def test_a_call_is_shown_beside_the_last_one_and_moves_no_terminal(lab, executor, waiting):
    first = waiting()
    assert run_command(lab, "calls", "approve", first, **AS_ALICE).returncode == 0
    with client_of(lab) as client:
        client.tools.wait(first)
    second = waiting(HOSTILE)
    shown = run_command(lab, "calls", "show", second[:12], role="readonly").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert f"call          {second}\n" in shown
    assert "status        pending, waits for a person\n" in shown
    assert "asked for by  assistant (login mission_control)\n" in shown
    assert re.search(r'^  ~ name = "evil\\u001b.*, was "plex"$', shown, re.MULTILINE)
    as_json = json.loads(run_command(lab, "calls", "show", second, "--json").stdout)
    assert (as_json["arguments"], as_json["previous_arguments"]) == ({"name": HOSTILE}, {"name": "plex"})
    shown = run_command(lab, "calls", "show", first).stdout
    assert "decided by    alice at " in shown
    assert shown.endswith('result\n{\n  "done": true\n}\n')


def test_who_has_no_approvers_token_decides_nothing(lab, waiting, tmp_path):
    call_id = waiting()
    token = tmp_path / "token"
    refused(
        run_command(lab, "calls", "approve", call_id),
        "This login may not decide about calls: give an approver's token in MISSION_CONTROL_APPROVER_TOKEN or by --token-file.",
    )
    for text, sentence, code in (
        (ASSISTANT, rf"The call {call_id} of restart_thing stays \S.*: .*", 1),
        ("short", "The approver's token of MISSION_CONTROL_APPROVER_TOKEN must be 32 to 512 letters.*", 2),
    ):
        refused(run_command(lab, "calls", "approve", call_id, MISSION_CONTROL_APPROVER_TOKEN=text), sentence, code)
    same = {"MISSION_CONTROL_APPROVER_TOKEN": APPROVER, "MISSION_CONTROL_TOOL_TOKEN": APPROVER}
    refused(run_command(lab, "calls", "approve", call_id, **same), ".*who asks and who decides are two.*", 2)
    token.write_text(APPROVER + "\n", encoding="ascii")
    token.chmod(0o640)
    refused(run_command(lab, "calls", "approve", call_id, "--token-file", str(token)), ".*: chmod 600 .*", 2)
    token.chmod(0o600)
    assert run_command(lab, "calls", "deny", call_id, "--token-file", str(token)).returncode == 0
    refused(
        run_command(lab, "calls", "approve", call_id, **AS_ALICE),
        f"The call {call_id} of restart_thing stays denied: .*",
    )


def test_the_token_file_of_the_home_directory_is_found(lab, waiting, tmp_path):
    file = tmp_path / ".config/mission_control/approver-token"
    file.parent.mkdir(parents=True)
    file.write_text(APPROVER, encoding="ascii")
    file.chmod(0o600)
    result = run_command(lab, "calls", "deny", waiting(), HOME=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


def test_on_a_terminal_the_token_is_asked_for_and_not_shown(lab, waiting, tmp_path):
    call_id = waiting()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "calls", "approve", call_id],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment_of(lab, HOME=str(tmp_path)),
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"Approver's token" not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, APPROVER.encode() + b"\n")
    # Which ends so when the other end was closed.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 1000):
            seen += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert b"Approved: restart_thing" in seen
    assert APPROVER.encode() not in seen


def test_an_approvers_own_login_needs_no_token(lab, waiting):
    result = run_command(lab, "calls", "approve", waiting(), role="approver")
    assert (result.returncode, result.stderr) == (0, "")


def test_only_who_asked_withdraws_a_call(lab, waiting):
    call_id = waiting()
    refused(run_command(lab, "calls", "cancel", call_id), f"The call {call_id} of restart_thing stays .*")
    result = run_command(lab, "calls", "cancel", call_id, **AS_ASSISTANT)
    assert result.stdout == 'Withdrawn: restart_thing name="plex", asked for by assistant.\n'


def test_a_reason_that_is_too_long_decides_nothing(lab):
    refused(
        run_command(lab, "calls", "deny", "00000000", "--reason", "ä" * 2049), r"A reason has at most 4096 bytes\.", 2
    )


def test_no_short_beginning_decides(lab, waiting):
    refused(
        run_command(lab, "calls", "approve", waiting()[:7], **AS_ALICE),
        "Name the call by 8 digits of its identifier or more.*",
        2,
    )


def test_an_approvers_token_beside_an_assistant_is_refused(lab):
    result = run_process(lab, "mcp", **AS_ALICE)
    assert (result.returncode, result.stdout) == (2, "")
    assert "could approve its own calls by it: unset it there" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (("calls", "approve", "00000000"), "There is no call whose identifier begins with '00000000'.", 1),
        (("tools", "run", LIST, "--arguments", "-"), r"The arguments in - are no JSON object, such as \{\}\.", 2),
        (("mcp",), "Standard input is closed, from which the MCP client would be read.", 2),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_a_closed_standard_input_is_no_fault_of_the_program(lab, words, sentence, code):
    refused(run_process(lab, *words, command=["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND]), sentence, code)


def test_a_call_that_there_is_not_is_named(lab):
    for beginning in ("ffffffff", "nonsense"):
        refused(
            run_command(lab, "calls", "show", beginning),
            f"There is no call whose identifier begins with '{beginning}'\\.",
        )


@pytest.mark.usefixtures("template")  # with which the roles are made
def test_a_database_without_tools_under_policy_is_said_to_have_none(cluster):
    import mission_control_database as layer

    database = layer.create_database(cluster, "mission_control_without_tools")
    try:
        worker = ("tools", "worker", "--once", "--file", "/there/is/none")
        for words in (("tools",), ("calls",), ("tools", "run", "any"), ("calls", "show", "1"), worker):
            refused(run_command(database, *words), "The database has no tools under policy yet: .*migrat.*", 3)
    finally:
        database.drop()
