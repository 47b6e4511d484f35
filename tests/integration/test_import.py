"""`mission-control import` against a real database: each call once, whatever becomes of the files and the imports."""

import json
import os
import random
import threading

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.calls import ImportOptions
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.files import LONGEST_LINE
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.run import import_usage
from command import run_command
from import_lab import GrowingTranscripts, assert_each_call_once, start_and_kill
from library_client import client_of
from transcripts import (
    PARENT,
    SESSION,
    as_lines,
    claude_line,
    claude_prompt,
    codex_session,
    codex_total,
    codex_turn,
    rest,
    spend_log,
    write,
)

SECRET = "correct horse battery staple"


@pytest.fixture
def projects(tmp_path):
    return tmp_path / "projects"


@pytest.fixture
def imported(database, tmp_path):
    """Import files of a form: what it says it did. `code`: how it has to end."""

    def run(form, *paths, code=0, **more):
        arguments = [word for name, value in more.items() for word in _option(name, value)]
        result = run_command(database, "import", form, *map(str, paths), *arguments, "--json", HOME=str(tmp_path))
        assert (result.returncode, result.stderr) == (code, "")
        return json.loads(result.stdout)

    return run


def _option(name, value):
    option = f"--{name.replace('_', '-')}"
    return [option] if value is True else [option, value]


def outputs(session, source="claude-code"):
    """Output tokens by identifier."""
    rows = session.rows("SELECT external_id, output_tokens FROM token_usage WHERE source = %s ORDER BY 1", source)
    return {row["external_id"]: row["output_tokens"] for row in rows}


def summary(result):
    return {name: result[name] for name in ("new", "known", "held_back", "refused")}


def test_calls_are_recorded_with_their_cost_and_labels_once(projects, imported, application):
    write(
        projects / "a" / f"{SESSION}.jsonl",
        [claude_line("msg_1", 1, None), claude_line("msg_1"), claude_line("msg_2", 9)],
    )
    write(projects / "a" / SESSION / "subagents/agent-1.jsonl", [claude_line("msg_2", 9), claude_line("msg_3", 5)])
    result = imported("claude-code", projects)
    assert (result["files"], summary(result)) == (2, {"new": 3, "known": 0, "held_back": 0, "refused": 0})
    row = application.row("SELECT * FROM token_usage WHERE external_id = 'msg_1'")
    assert (row["provider"], row["model"], row["project"], row["agent"], row["source"]) == (
        "claude",
        "claude-opus-4-5-20251101",
        "homelab",
        "claude-code",
        "claude-code",
    )
    assert (row["cost_source"], row["request_id"], str(row["occurred_at"])) == (
        "computed",
        None,
        "2026-03-10 12:00:00.123000+00:00",
    )
    cost = application.value(
        "SELECT (3 * input_usd_per_mtok + 50 * output_usd_per_mtok + 20 * cache_read_usd_per_mtok "
        "+ 4 * cache_write_5m_usd_per_mtok + 6 * cache_write_1h_usd_per_mtok) / 1000000 FROM provider_pricing WHERE id = %s",
        row["price_id"],
    )
    assert row["estimated_cost_usd"] == cost > 0
    assert imported("claude-code", projects)["unchanged_files"] == 2
    again = imported("claude-code", projects, from_start=True)
    assert summary(again) == {"new": 0, "known": 3, "held_back": 0, "refused": 0}
    assert outputs(application) == {"msg_1": 50, "msg_2": 9, "msg_3": 5}


def test_the_next_import_goes_on_where_the_last_one_ended(projects, imported, application):
    file = write(projects / "s.jsonl", [claude_line("msg_1"), claude_line("msg_2")], end='\n{"type":"assis')
    assert summary(imported("claude-code", projects)) == {"new": 2, "known": 0, "held_back": 0, "refused": 0}
    with file.open("ab") as out:
        out.write(b'tant","usage":{}}\n' + as_lines([claude_line("msg_3")]))
    result = imported("claude-code", projects)
    assert summary(result) == {"new": 1, "known": 0, "held_back": 0, "refused": 0}
    place = application.row("SELECT * FROM usage_import_files")
    assert (place["position"], place["calls"], place["path"]) == (file.stat().st_size, 3, str(file.resolve()))


@pytest.mark.parametrize("change", ["shorter", "other", "rotated"])
def test_a_file_that_became_another_is_read_from_its_beginning(projects, imported, application, change):
    file = write(projects / "s.jsonl", [claude_line(f"msg_{number}") for number in range(5)])
    imported("claude-code", projects)
    if change == "rotated":
        file.rename(projects / "s.1.jsonl")
    kept = [claude_line("msg_0")] if change == "shorter" else [claude_line(f"msg_new_{number}") for number in range(9)]
    write(file, kept)
    result = imported("claude-code", projects)
    new, known = {"shorter": (0, 1), "other": (9, 0), "rotated": (9, 5)}[change]
    assert (result["replaced_files"], result["new"], result["known"]) == (1, new, known)
    assert len(outputs(application)) == 5 + new


def test_a_message_without_an_end_waits_until_nobody_writes_to_its_file(projects, imported, application):
    live = write(projects / "live.jsonl", [claude_line("msg_1", 1, None), claude_line("msg_2")], idle=False)
    assert summary(imported("claude-code", projects)) == {"new": 1, "known": 0, "held_back": 1, "refused": 0}
    assert outputs(application) == {"msg_2": 50}
    rest(live)
    assert summary(imported("claude-code", projects)) == {"new": 1, "known": 1, "held_back": 0, "refused": 0}
    assert outputs(application) == {"msg_1": 1, "msg_2": 50}


def test_of_a_message_the_copy_with_its_end_counts_whichever_is_read_first(projects, imported, application):
    write(projects / "a.jsonl", [claude_line("msg_1", 1, None), claude_line("msg_2", 2, None)])
    write(projects / "b.jsonl", [claude_line("msg_1", 1, None), claude_line("msg_1", 340)])
    assert imported("claude-code", projects)["new"] == 2
    assert outputs(application) == {"msg_1": 340, "msg_2": 2}


def test_sessions_of_codex_and_what_they_inherited(tmp_path, imported, application):
    history = [
        codex_turn("gpt-5.3-codex"),
        codex_total((1000, 600, 50, 20), second=5),
        codex_total((1500, 600, 70, 20), second=9),
    ]
    day = tmp_path / "sessions/2026/03/10"
    write(day / f"rollout-2026-03-10T12-00-00-{PARENT}.jsonl", [codex_session(PARENT), *history])
    child = write(
        day / f"rollout-2026-03-10T12-01-40-{SESSION}.jsonl",
        [codex_session(SESSION, 100, forked_from_id=PARENT), *history, codex_total((1600, 600, 80, 20), second=130)],
    )
    assert imported("codex", tmp_path, subscription=True)["new"] == 3
    with child.open("ab") as out:
        out.write(as_lines([codex_total((1700, 600, 90, 20), second=140)]))
    assert imported("codex", tmp_path, subscription=True)["new"] == 1
    moved = tmp_path / "archived_sessions" / child.name
    moved.parent.mkdir()
    child.rename(moved)
    assert imported("codex", tmp_path, subscription=True)["new"] == 0
    rows = application.rows("SELECT * FROM token_usage ORDER BY occurred_at")
    assert [
        (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["reasoning_tokens"]) for row in rows
    ] == [
        (400, 600, 30, 20),
        (500, 0, 20, 0),
        (100, 0, 10, 0),
        (100, 0, 10, 0),
    ]
    assert {(row["cost_source"], row["estimated_cost_usd"]) for row in rows} == {("subscription", 0)}


def test_a_spend_log_and_calls_in_json_lines(tmp_path, imported, application):
    log = write(tmp_path / "log.json", [json.dumps([spend_log("a"), spend_log("b", model="mystery")]).encode()])
    result = imported("litellm", log, project="chat")
    assert (result["new"], result["unpriced"]) == (2, 1)
    assert imported("litellm", log, project="chat")["unchanged_files"] == 1
    run = application.insert("task_runs", task_id=application.insert("tasks", title="t", created_by="test")["id"])
    line = {
        "v": 1,
        "at": "2026-03-10T12:00:00Z",
        "provider": "openai",
        "model": "gpt-5.4",
        "buckets": {"input_tokens": 7},
    }
    lines = [
        {**line, "id": "own", "task_run_id": run["id"], "cost_usd": "0.25", "source": "billing"},
        {**line, "id": "gone", "task_run_id": SESSION},
        {**line, "id": "failed", "buckets": None},
    ]
    assert imported("jsonl", write(tmp_path / "calls.jsonl", lines))["new"] == 2
    rows = application.rows("SELECT * FROM token_usage WHERE external_id IN ('own', 'gone') ORDER BY external_id")
    assert [(row["source"], row["task_run_id"], row["cost_source"]) for row in rows] == [
        ("jsonl", None, "computed"),
        ("billing", run["id"], "provider"),
    ]


def test_nothing_of_prompts_and_replies_is_stored_unless_asked_for(projects, tmp_path, imported, application, admin):
    text = {"content": [{"type": "text", "text": SECRET}]}
    write(projects / "s.jsonl", [claude_prompt(SECRET), claude_line("msg_1", message=text)])
    imported("claude-code", projects)
    for table in admin.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        assert SECRET not in str(admin.rows(f'SELECT * FROM "{table}"')), table
    assert imported("claude-code", projects, bodies="full", from_start=True)["known"] == 1
    request = application.row("SELECT * FROM llm_requests")
    assert request["messages"] == [{"role": "user", "content": SECRET}]
    assert application.row("SELECT content, finish_reason FROM llm_responses") == {
        "content": SECRET,
        "finish_reason": "end_turn",
    }
    assert application.value("SELECT count(*) FROM token_usage") == 1
    # With bodies from the first time on, and calls that failed.
    line = {"v": 1, "at": "2026-03-10T12:00:00Z", "provider": "openai", "model": "gpt-5.4", "latency_ms": 12.4}
    lines = [{**line, "id": "a", "buckets": {}, "task_run_id": SESSION}, {**line, "id": "b", "error": "overloaded"}]
    assert imported("jsonl", write(tmp_path / "calls.jsonl", lines), bodies="truncated")["new"] == 1
    assert application.values("SELECT error FROM llm_responses WHERE latency_ms = 12 ORDER BY error") == [
        "overloaded",
        None,
    ]


def test_a_call_that_the_program_recorded_itself_is_known(database, tmp_path, imported):
    with client_of(database) as client:
        client.record_llm_call(
            provider="openai",
            model="gpt-5.4",
            usage={"prompt_tokens": 9, "completion_tokens": 1},
            source="otel",
            external_id="resp_1",
        )
    line = {
        "v": 1,
        "id": "resp_1",
        "at": "2026-03-10T12:00:00Z",
        "provider": "openai",
        "model": "gpt-5.4",
        "buckets": {},
    }
    assert imported("jsonl", write(tmp_path / "spool.jsonl", [line]), source="otel")["known"] == 1


def test_a_login_that_may_not_write_is_told_and_nothing_is_written(database, projects, application):
    write(projects / "s.jsonl", [claude_line()])
    result = run_command(database, "import", "claude-code", str(projects), role="readonly")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("mission-control: This login may not import usage (permission denied for table ")
    assert application.value("SELECT count(*) FROM token_usage") == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["claude-code"], "there is nothing in"),
        (["jsonl"], "there is nothing in ~/.local/state/mission_control/calls"),
        (["litellm"], "no default place"),
        ([], "The following arguments are required: FORM;"),
        (["jsonl", "/none/such"], "There is no file or directory '/none/such'"),
        (["gemini"], "invalid choice"),
        (["codex", "/tmp", "--project", " "], "--project"),
        (["codex", "/tmp", "--source", "x" * 300], "--source"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_read(database, tmp_path, arguments, named):
    result = run_command(database, "import", *arguments, HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    assert named in result.stderr


def test_the_tools_own_places_are_the_default(database, tmp_path, application):
    write(tmp_path / ".claude/projects/a/s.jsonl", [claude_line("msg_1")])
    write(tmp_path / "other/projects/a/s.jsonl", [claude_line("msg_2")])
    assert run_command(database, "import", "claude-code", HOME=str(tmp_path)).stdout == (
        "Read 1 file (0 unchanged), 1 call: 1 new, 0 known, 0 held back, 0 refused.\n"
    )
    run_command(database, "import", "claude-code", HOME=str(tmp_path), CLAUDE_CONFIG_DIR=str(tmp_path / "other"))
    assert set(outputs(application)) == {"msg_1", "msg_2"}


def test_the_spool_of_the_exporter_is_where_its_setting_says(database, tmp_path, application):
    line = {"v": 1, "id": "resp_1", "at": "2026-03-10T12:00:00Z", "provider": "openai", "model": "m", "buckets": {}}
    write(tmp_path / "spool/a.jsonl", [line])
    run_command(database, "import", "jsonl", MISSION_CONTROL_SPANS_SPOOL=str(tmp_path / "spool"))
    assert set(outputs(application, "jsonl")) == {"resp_1"}


def test_two_imports_of_the_same_files_at_once_count_each_call_once(database, projects, application):
    keys = [f"msg_{number:05d}" for number in range(5000)]
    for name in range(4):
        # Calls that several files have, in another order in each.
        some = keys[name * 1000 :]
        write(projects / f"{name}.jsonl", [claude_line(key, 1) for key in (some[::-1] if name % 2 else some)])
    results = []

    def run():
        with client_of(database, pool_size=2) as client:
            results.append(import_usage(client, "claude-code", [str(projects)], ImportOptions("claude-code")))

    threads = [threading.Thread(target=run) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.refused for result in results] == [0] * len(threads)
    assert sum(result.new for result in results) == len(keys)
    assert set(outputs(application)) == set(keys)


def test_kills_lose_and_repeat_nothing(database, application, projects, imported):
    dice = random.Random(5)
    transcripts = GrowingTranscripts(projects, dice)
    killed = 0
    for _kill in range(4):
        transcripts.grow(6000)
        killed += start_and_kill(database, application, transcripts, dice, within=0.4)
    assert killed
    transcripts.finish()
    imported("claude-code", projects)
    assert_each_call_once(application, transcripts.expected)


def test_a_call_that_the_database_refuses_keeps_no_other_out(projects, imported, admin, application):
    admin.run("ALTER TABLE token_usage ADD CONSTRAINT ck_test CHECK (external_id <> 'msg_7')")
    write(projects / "s.jsonl", [claude_line(f"msg_{number}") for number in range(20)])
    result = imported("claude-code", projects, code=1)
    assert summary(result) == {"new": 19, "known": 0, "held_back": 0, "refused": 1}
    assert "msg_7" not in outputs(application)


def test_hostile_files_are_refused_in_sentences_and_the_others_are_read(database, projects, application):
    write(projects / "good.jsonl", [claude_line("msg_good")])
    for name, content in {
        "nul": b"\0" * 100_000 + b"\n",
        "long": b'{"type":"assistant","usage":"' + b"x" * (LONGEST_LINE + 5) + b'"}\n',
        "deep": b'{"type":"assistant","usage":' + b"[" * 200_000 + b"\n",
        "number": as_lines([claude_line("msg_n")]).replace(b'"output_tokens":50', b'"output_tokens":1e400'),
        "digits": as_lines([claude_line("msg_d")]).replace(b'"output_tokens":50', b'"output_tokens":' + b"9" * 100_000),
        "types": as_lines([claude_line("msg_t", usage={"cache_creation": [1], "output_tokens": {}})]),
        "surrogate": as_lines([claude_line("msg_\ud800")]),
        "\x1b[31mred\nline": b'{"type":"assistant","usage":\n',
    }.items():
        (projects / f"{name}.jsonl").write_bytes(content)
    (projects / os.fsdecode(b"bytes-\xff.jsonl")).write_bytes(as_lines([claude_line("msg_bytes")]))
    os.mkfifo(projects / "pipe.jsonl")
    (projects / "loop").symlink_to(projects)
    (projects / "link.jsonl").symlink_to("/etc/passwd")
    result = run_command(database, "import", "claude-code", str(projects))
    assert (result.returncode, result.stderr) == (1, "")
    assert set(outputs(application)) == {"msg_good", "msg_bytes"}
    first, *problems = result.stdout.splitlines()
    assert first.endswith("2 new, 0 known, 0 held back, 9 refused.")
    assert len(problems) == 9
    assert all(problem.startswith(str(projects)) and problem.endswith(".") for problem in problems)
    assert "\x1b" not in result.stdout
    assert "\\u001b[31mred\\nline.jsonl:1: It is no JSON." in result.stdout
