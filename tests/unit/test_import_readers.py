"""What an import takes of each form: the traps that others fell into, each with a small made-up transcript."""

import dataclasses
import json

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.buckets import ReportedUsage
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports import (
    claude_code,
    codex,
    json_lines,
    litellm,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.calls import (
    ImportOptions,
    LineError,
    Refusal,
    instant,
    moment,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.files import (
    BEGINNING,
    LONGEST_LINE,
    FileError,
    Place,
    SourceFile,
    find_files,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.imports.summaries import SummaryError
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.usage import read_usage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcripts import (
    PARENT,
    SESSION,
    claude_line,
    claude_prompt,
    codex_record,
    codex_session,
    codex_total,
    codex_turn,
    spend_log,
    write,
)


@pytest.fixture(autouse=True)
def _no_sessions_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "none"))


@pytest.fixture
def read(tmp_path):
    """Read a file of a form: its calls and refusals, and the reader."""

    def of(form, entries, *, name=None, whole=True, options=None, start=BEGINNING, state=None, **more):
        file = tmp_path / (name or f"transcript{form.ENDINGS[0]}")
        if entries is not None:
            write(file, entries)
        with SourceFile(str(file)) as opened:
            reader = form.Reader(opened, start, state or {}, options or ImportOptions("lab"), whole, **more)
            items = [item for group in reader for item in group]
            return Read(items, reader.place, json.loads(json.dumps(reader.state)), reader.held_back)

    return of


@dataclasses.dataclass
class Read:
    items: list
    place: Place
    state: dict
    held_back: int

    @property
    def calls(self):
        return [item for item in self.items if not isinstance(item, Refusal)]

    @property
    def refusals(self):
        return [tuple(item) for item in self.items if isinstance(item, Refusal)]

    @property
    def outputs(self):
        return {call.external_id: call.buckets.output_tokens for call in self.calls}


def counts(call):
    """The buckets that are not empty, by their first letters."""
    return {name[: -len("_tokens")]: count for name, count in vars(call.buckets).items() if count}


# Claude Code -----------------------------------------------------------------------------------------------------------


def test_a_message_with_a_line_for_each_block_counts_once_by_its_last_line(read):
    result = read(
        claude_code,
        [
            claude_prompt(),
            claude_line("msg_1", 1, None, second=1),
            claude_line("msg_1", 1, None, second=2),
            claude_line("msg_1", 340, "tool_use", second=3),
            claude_line("msg_2", 9, second=9),
        ],
    )
    first, _second = result.calls
    assert result.outputs == {"msg_1": 340, "msg_2": 9}
    assert counts(first) == {"input": 3, "cache_read": 20, "cache_write_5m": 4, "cache_write_1h": 6, "output": 340}
    assert (first.at, first.provider, first.model) == ("2026-03-10T12:00:01.123Z", "claude", "claude-opus-4-5-20251101")
    assert (first.project, first.agent, first.cost_source) == ("homelab", "claude-code", "computed")
    assert first.bodies is None


def test_sidechains_and_resumed_sessions_repeat_messages_under_other_sessions_and_requests(read):
    again = claude_line("msg_1", 40, sessionId=PARENT, requestId="req_other", isSidechain=True, agentId="a5e94f0")
    assert {call.external_id for call in read(claude_code, [claude_line("msg_1", 40), again]).calls} == {"msg_1"}


def test_a_message_without_an_end_is_held_back_with_its_place(read):
    lines = [claude_line("msg_1"), claude_line("msg_2", 1, None), claude_line("msg_3", 7)]
    result = read(claude_code, lines, whole=False)
    assert result.outputs == {"msg_1": 50, "msg_3": 7}
    assert (result.held_back, result.place.line) == (1, 1)
    later = read(claude_code, [*lines, claude_line("msg_2", 80)], whole=False, start=result.place)
    assert later.outputs == {"msg_2": 80, "msg_3": 7}
    assert (later.held_back, later.place.line) == (0, 4)


def test_more_open_messages_than_are_kept_are_all_held_back_or_given_out(read):
    lines = [claude_line(f"msg_{number}", number, None) for number in range(200)]
    result = read(claude_code, lines, whole=False)
    assert (result.calls, result.held_back, result.place) == ([], 200, Place())
    assert len(read(claude_code, lines).outputs) == 200


def test_what_is_no_call_is_passed_over(read):
    result = read(
        claude_code,
        [
            claude_line("msg_1", isApiErrorMessage=True),
            claude_line("msg_2", message={"model": "<synthetic>"}),
            claude_line("msg_3", type="progress"),
            claude_line("msg_4", message={"usage": None}),
            {"type": "user", "toolUseResult": {"usage": {"input_tokens": 9, "output_tokens": 9}, "by": "assistant"}},
            {"type": "summary", "summary": 'they said "usage" and "assistant"'},
            b"",
        ],
    )
    assert result.items == []


def test_fast_mode_batch_and_a_message_without_an_identifier(read):
    result = read(
        claude_code,
        [
            claude_line("msg_1", usage={"speed": "fast"}),
            claude_line("msg_2", usage={"service_tier": "batch"}),
            claude_line("msg_3", message={"id": None}),
            claude_line("msg_4", message={"id": None}, requestId=None),
        ],
    )
    assert [(call.external_id, call.billing_mode) for call in result.calls] == [
        ("msg_1", "fast"),
        ("msg_2", "batch"),
        ("req_msg_3", "standard"),
        ("msg_4-50", "standard"),
    ]


def test_an_advisor_is_a_call_of_its_own_at_the_price_of_its_model(read):
    part = {"type": "advisor_message", "model": "claude-haiku-4-5", "input_tokens": 100, "output_tokens": 5}
    turn = {"type": "message", **claude_line()["message"]["usage"]}
    usage = {"iterations": [{name: turn[name] for name in turn if name.endswith(("type", "_tokens"))}, part]}
    call, advisor = read(claude_code, [claude_line(usage=usage)]).calls
    assert (advisor.external_id, advisor.model, counts(advisor)) == (
        "msg_1/advisor-1",
        "claude-haiku-4-5",
        {"input": 100, "output": 5},
    )
    assert (call.model, counts(call)["output"]) == ("claude-opus-4-5-20251101", 50)


def test_lines_that_cannot_be_used_are_refused_by_number(read):
    result = read(
        claude_code,
        [
            b'{"type":"assistant","usage":',
            claude_line("msg_1", timestamp="yesterday"),
            claude_line("msg_2", message={"model": 7}),
            claude_line("msg_3", usage={"mystery_tokens": 5}),
            claude_line("msg_4", -1),
            claude_line("msg_5\x00"),
            claude_line("msg_6"),
        ],
    )
    assert [call.external_id for call in result.calls] == ["msg_6"]
    assert sorted(line for line, _sentence in result.refusals) == [1, 2, 3, 4, 5, 6]
    sentences = dict(result.refusals)
    assert sentences[1] == "It is no JSON."
    assert sentences[2] == "Its time is missing or not written like 2026-03-29T10:00:00Z."
    assert "mystery_tokens" in sentences[4]


def test_bodies_are_read_only_where_they_are_asked_for(read):
    lines = [claude_prompt("Is it plex?"), claude_line("msg_1", 1, None), claude_line("msg_1", 2, "end_turn")]
    (call,) = read(claude_code, lines, options=ImportOptions("lab", bodies="full")).calls
    assert tuple(call.bodies) == (
        [{"role": "user", "content": "Is it plex?"}],
        "block 1\nblock 2",
        "end_turn",
        None,
        None,
    )


# Codex -----------------------------------------------------------------------------------------------------------------


def test_calls_of_codex_are_the_differences_of_running_totals(read):
    result = read(
        codex,
        [
            codex_session(),
            codex_turn(),
            codex_total(None),
            codex_total((1000, 600, 50, 20), (1000, 600, 50, 20), second=5),
            codex_total((1000, 600, 50, 20), (1000, 600, 50, 20), second=6),
            codex_turn("gpt-5.4"),
            codex_total((2500, 1600, 80, 20), (1500, 1000, 30), second=9),
        ],
    )
    assert [(call.model, counts(call)) for call in result.calls] == [
        ("gpt-5.3-codex", {"input": 400, "cache_read": 600, "output": 30, "reasoning": 20}),
        ("gpt-5.4", {"input": 500, "cache_read": 1000, "output": 30}),
    ]
    assert [(call.provider, call.project, call.agent) for call in result.calls] == [("openai", "homelab", "codex")] * 2


def test_a_total_that_falls_began_anew(read):
    result = read(
        codex,
        [
            codex_session(),
            codex_total((1000, 0, 50), (1000, 0, 50), second=5),
            codex_total((0, 0, 0), (0, 0, 0), second=6),
            codex_total((300, 0, 10), (300, 0, 10), second=7),
            codex_total((200, 0, 5), (200, 0, 5), second=9),
        ],
    )
    assert [counts(call) for call in result.calls] == [
        {"input": 1000, "output": 50},
        {"input": 300, "output": 10},
        {"input": 200, "output": 5},
    ]
    assert {call.model for call in result.calls} == {"unknown"}


def test_an_import_goes_on_in_a_session_with_what_it_knew(read):
    entries = [
        codex_session(),
        codex_turn(),
        codex_total((100, 0, 5), second=5),
        codex_total((300, 0, 9), second=8),
        codex_record("resp_3", (50, 0, 1), (350, 0, 10), second=9),
        codex_total((350, 0, 10), (50, 0, 1), second=9),
    ]
    whole = read(codex, entries).calls
    parts = []
    for length in range(len(entries) + 1):
        result = read(
            codex, entries[:length], start=parts[-1].place if parts else Place(), state=parts[-1].state if parts else {}
        )
        parts.append(result)
    assert [call for part in parts for call in part.calls] == whole
    assert [counts(call)["input"] for call in whole] == [100, 200, 50]


@pytest.mark.parametrize("order", ["record first", "total first"])
def test_a_record_and_the_total_that_follows_it_are_one_call(read, order):
    record, total = codex_record("resp_1", (100, 0, 5), (100, 0, 5)), codex_total((100, 0, 5), (100, 0, 5))
    pair = [record, total] if order == "record first" else [total, record]
    result = read(codex, [codex_session(), codex_turn(), *pair, codex_total((150, 0, 6), second=9)])
    assert [counts(call) for call in result.calls] == [{"input": 100, "output": 5}, {"input": 50, "output": 1}]


def test_answers_of_equal_size_are_calls_each(read):
    """A compaction has a record and no total of its own; two answers may be equally long."""
    result = read(
        codex,
        [
            codex_session(),
            codex_record("resp_1", (100, 0, 5), (100, 0, 5)),
            codex_total((100, 0, 5), (100, 0, 5)),
            codex_record("resp_2", (100, 0, 5), (200, 0, 10), second=5),
            codex_record("resp_3", (100, 0, 5), (300, 0, 15), second=9),
            codex_total((300, 0, 15), (100, 0, 5), second=9),
        ],
    )
    assert [call.external_id for call in result.calls] == ["resp_1", "resp_2", "resp_3"]


HISTORY = [
    codex_turn(),
    codex_total((1000, 0, 50), (1000, 0, 50), second=5),
    codex_total((2500, 0, 80), (1500, 0, 30), second=9),
]


def forked(second=100, **payload):
    return codex_session(SESSION, second, **(payload or {"forked_from_id": PARENT}))


def rewritten(entries, second):
    return [{**entry, "timestamp": codex_turn(second=second)["timestamp"]} for entry in entries]


STARTED = {"source": {"subagent": {"thread_spawn": {"parent_thread_id": PARENT, "depth": 1}}}}
OWN = codex_total((2600, 0, 90), (100, 0, 10), second=130)


@pytest.mark.parametrize(
    "child",
    [
        [forked(), codex_session(PARENT), *HISTORY, OWN],
        [forked(), codex_session(PARENT), *rewritten(HISTORY, 100), OWN],
        [forked(**STARTED), *rewritten(HISTORY, 100), OWN],
        [forked(), *HISTORY[:2], codex_total((1100, 0, 60), (100, 0, 10), second=130)],
        [forked(), codex_total((2600, 0, 90), (100, 0, 10), second=130)],
    ],
    ids=["old times", "new times", "a helper", "a part of the history", "no history"],
)
@pytest.mark.parametrize("parent", ["with its parent's file", "without it"])
def test_what_a_session_inherited_is_not_counted_again(read, tmp_path, child, parent):
    name = f"rollout-2026-03-10T12-00-00-{PARENT}.jsonl"
    write(tmp_path / name, [codex_session(PARENT), *HISTORY])
    known = [str(tmp_path / name)] if parent == "with its parent's file" else []
    result = read(codex, child, sessions=codex.Sessions(known))
    assert [counts(call) for call in result.calls] == [{"input": 100, "output": 10}]
    assert result.calls[0].external_id.startswith(SESSION)


def test_a_long_inheritance_is_told_by_the_parent_alone(read, tmp_path):
    """Where the history was written slowly and with new times only its totals tell it; and what is new there stays new."""
    totals = [codex_total((number * 100, 0, number), second=number) for number in range(1, 50)]
    write(
        tmp_path / f"rollout-{PARENT}.jsonl", [codex_session(PARENT), *totals, codex_total((9900, 0, 99), second=3000)]
    )
    slow = [
        {**total, "timestamp": codex_turn(second=100 + 3 * number)["timestamp"]} for number, total in enumerate(totals)
    ]
    child = [forked(), *slow, codex_total((9900, 0, 99), second=400)]
    sessions = codex.Sessions([str(tmp_path / f"rollout-{PARENT}.jsonl")])
    result = read(codex, child, sessions=sessions)
    assert [counts(call) for call in result.calls] == [{"input": 5000, "output": 50}], (
        "the parent counted that after the fork"
    )
    # The same in two imports, the first of which ends in the middle of the history.
    first = read(codex, child[:20], sessions=sessions)
    second = read(codex, child, sessions=sessions, start=first.place, state=first.state)
    assert (first.calls, second.calls) == ([], result.calls)


def test_records_that_were_inherited_hide_no_call_of_the_same_size(read, tmp_path):
    pair = [codex_record("resp_1", (100, 0, 5), (100, 0, 5)), codex_total((100, 0, 5), (100, 0, 5), second=5)]
    write(tmp_path / f"rollout-{PARENT}.jsonl", [codex_session(PARENT), *pair])
    child = [forked(), codex_session(PARENT), *pair, codex_total((200, 0, 10), (100, 0, 5), second=130)]
    result = read(codex, child, sessions=codex.Sessions([str(tmp_path / f"rollout-{PARENT}.jsonl")]))
    # The first is the parent's own by its identifier, so that the database knows it.
    assert [call.external_id for call in result.calls] == ["resp_1", f"{SESSION}/2026-03-10T12:02:10.000Z/200+10"]


def test_settings_say_the_tier_and_another_provider_is_named(read):
    settings = {"type": "thread_settings_applied", "thread_settings": {"model": "gpt-5.4", "service_tier": "fast"}}
    result = read(
        codex,
        [
            codex_session(model_provider="Ollama"),
            {"timestamp": "2026-03-10T12:00:00Z", "type": "event_msg", "payload": settings},
            codex_total((10, 0, 5)),
        ],
    )
    assert [(call.provider, call.model, call.billing_mode) for call in result.calls] == [
        ("ollama", "gpt-5.4", "priority")
    ]


def test_what_codex_says_wrongly_is_refused(read):
    result = read(
        codex,
        [
            codex_session(),
            {"timestamp": "2026", "type": "event_msg", "payload": {"type": "token_count", "info": {}}},
            {**codex_total((1, 0, 1)), "timestamp": None},
            codex_total((-1, 0, 1)),
            codex_total((10, 11, 1)),
            codex_record("", (1, 0, 1)),
            {
                **codex_record("resp_1", (1, 0, 1)),
                "payload": {"response_id": "resp_1", "usage": {"input_tokens": 1e400}},
            },
        ],
    )
    assert result.calls == []
    assert [line for line, _sentence in result.refusals] == [2, 3, 4, 5, 6, 7]


# LiteLLM ---------------------------------------------------------------------------------------------------------------


def test_the_spend_log_gives_tokens_and_never_its_spend(read):
    cached = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    rows = [
        spend_log(usage=cached, spend=99.0),
        spend_log(
            "chatcmpl-2", model="anthropic/claude-opus-5", custom_llm_provider=None, metadata={"usage_object": None}
        ),
        spend_log("chatcmpl-3", cache_hit="True"),
        spend_log("chatcmpl-4", status="failure", prompt_tokens=0, completion_tokens=0, total_tokens=0),
        spend_log("chatcmpl-5", model="mystery", custom_llm_provider=""),
    ]
    for name, content in (
        ("log.json", [json.dumps(rows).encode()]),
        ("page.json", [json.dumps({"data": rows, "total": 5}, indent=2).encode()]),
        ("log.jsonl", rows),
    ):
        result = read(litellm, content, name=name)
        assert [(call.external_id, call.provider, call.model, counts(call)) for call in result.calls] == [
            ("chatcmpl-1", "openai", "gpt-5.4", {"input": 40, "cache_read": 60, "output": 20}),
            ("chatcmpl-2", "claude", "claude-opus-5", {"input": 100, "output": 20}),
            ("chatcmpl-5", "litellm", "mystery", {"input": 100, "output": 20}),
        ], name
        assert {(call.cost_usd, call.cost_source, call.agent) for call in result.calls} == {(None, "computed", "n8n")}


def test_the_spend_log_of_a_call_of_claude_has_writes_to_the_cache_inside(read):
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 50, "cache_creation_tokens": 30},
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 50,
    }
    (call,) = read(litellm, [json.dumps([spend_log(usage=usage, custom_llm_provider="anthropic")]).encode()]).calls
    assert counts(call) == {"input": 20, "cache_read": 50, "cache_write_5m": 30, "output": 20}


def test_the_spend_log_as_csv(read):
    metadata = json.dumps({"usage_object": {"prompt_tokens_details": {"cached_tokens": 60}}}).replace('"', '""')
    result = read(
        litellm,
        [
            b"request_id,call_type,spend,total_tokens,prompt_tokens,completion_tokens,startTime,model,custom_llm_provider,metadata",
            f'r1,acompletion,0.5,120,100,20,2026-03-10 12:00:00.123,gpt-5.4,openai,"{metadata}"'.encode(),
            b'r2,acompletion,0,120,x,20,2026-03-10 12:00:00.123,gpt-5.4,openai,"{',
            b'}"',
            b"",
            b"r3,acompletion,0,8.0,7.0,1,2026-03-10 12:00:00.123,gpt-5.4,openai,{}",
        ],
        name="log.csv",
    )
    assert [(call.external_id, call.at, counts(call)) for call in result.calls] == [
        ("r1", "2026-03-10 12:00:00.123Z", {"input": 40, "cache_read": 60, "output": 20}),
        ("r3", "2026-03-10 12:00:00.123Z", {"input": 7, "output": 1}),
    ]
    assert result.refusals == [(2, "Its prompt_tokens is not a number of tokens.")]


SUMMARIES = {
    "anthropic.json": {
        "data": [{"starting_at": "2026-03-10T00:00:00Z", "ending_at": "2026-03-11T00:00:00Z", "results": []}]
    },
    "openai.json": {"object": "page", "data": [{"object": "bucket", "start_time": 1, "end_time": 2, "results": []}]},
    "litellm.json": [{"startTime": "2026-03-10", "spend": 0.1, "users": {}, "models": {"gpt-5.4": 0.1}}],
    "activity.json": {"results": [{"date": "2026-03-10", "metrics": {"spend": 1}}], "metadata": {}},
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_sums_over_hours_or_days_are_no_calls(read, name):
    with pytest.raises(SummaryError, match="which would be counted twice"):
        read(litellm, [json.dumps(SUMMARIES[name]).encode()], name=name)


def test_a_table_of_sums_is_none_of_calls(read):
    with pytest.raises(SummaryError):
        read(litellm, [b"usage_date_utc,model_version,usage_input_tokens"], name="export.csv")
    with pytest.raises(SummaryError):
        read(json_lines, [{"starting_at": "2026-03-10T00:00:00Z", "ending_at": "2026-03-11T00:00:00Z"}])


# JSON lines ------------------------------------------------------------------------------------------------------------

LINE = {"v": 1, "id": "a", "at": "2026-03-29T10:00:00+02:00", "provider": "openai", "model": "gpt-5.4"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def test_json_lines_with_usage_or_buckets(read):
    result = read(
        json_lines,
        [
            {**LINE, "usage": USAGE, "project": "blog", "agent": "writer", "billing_mode": "batch"},
            {
                **LINE,
                "id": "b",
                "source": "n8n",
                "buckets": {"input_tokens": 7, "audio_output_tokens": 2},
                "cost_usd": "0.01",
            },
            {**LINE, "id": "c", "usage": USAGE, "task_run_id": SESSION.upper(), "cost_source": "local"},
            {**LINE, "id": "d", "error": "overloaded"},
            b"   ",
        ],
        options=ImportOptions("lab", project="homelab", subscription=True),
    )
    assert result.refusals == []
    a, b, c, d = result.calls
    assert (a.source, a.project, a.agent, a.billing_mode, a.cost_source) == (
        "lab",
        "homelab",
        "writer",
        "batch",
        "subscription",
    )
    assert (b.source, counts(b), b.cost_source, str(b.cost_usd)) == (
        "n8n",
        {"input": 7, "audio_output": 2},
        "provider",
        "0.010000000000",
    )
    assert (c.task_run_id, c.cost_source) == (SESSION, "local")
    assert d.buckets is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokens": 5}, "the key 'tokens'"),
        ({"v": 2}, '"v": 1'),
        ({"v": True}, '"v": 1'),
        ({"id": ""}, "id is missing"),
        ({"id": "x" * 1001}, "1000 bytes"),
        ({"id": "\ud800"}, "cannot be stored"),
        ({"at": "2026-03-29T10:00:00"}, "time"),
        ({"at": "2026-02-30T10:00:00Z"}, "time"),
        ({"provider": "OpenAI"}, "lower case"),
        ({"model": None}, "model"),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": 0}}, "cannot be true"),
        ({"usage": USAGE, "buckets": {}}, "both usage and buckets"),
        ({"buckets": {"tokens": 1}}, "the key 'tokens'"),
        ({"buckets": {"input_tokens": 1.5}}, "input_tokens"),
        ({"billing_mode": "cheap"}, "billing_mode"),
        ({"cost_source": "unpriced", "usage": USAGE}, "cost_source"),
        ({"cost_source": "provider", "usage": USAGE}, "cost_usd"),
        ({"cost_usd": 0.1, "usage": USAGE}, "as a text"),
        ({"cost_usd": "1e400", "usage": USAGE}, "as a text"),
        ({"cost_usd": "1"}, "without usage"),
        ({"cost_usd": "1", "cost_source": "local", "usage": USAGE}, "another than provider"),
        ({"task_run_id": "7"}, "UUID"),
    ],
)
def test_json_lines_that_say_something_wrong_are_refused_with_line_and_key(read, changes, named):
    result = read(json_lines, [{**LINE, "usage": USAGE}, {**LINE, **changes}])
    ((line, sentence),) = result.refusals
    assert (line, len(result.calls)) == (2, 1)
    assert named in sentence
    assert sentence.endswith(".")


# Files -----------------------------------------------------------------------------------------------------------------


def test_half_a_last_line_is_left_and_a_long_one_is_skipped(tmp_path):
    file = tmp_path / "a.jsonl"
    with file.open("wb") as out:
        out.write(b"one\n")
        for _part in range(LONGEST_LINE // (1 << 20) + 2):
            out.write(b"\0" * (1 << 20))
        out.write(b"\nthree\nfour")
    with SourceFile(str(file)) as opened:
        assert [(line.number, line.text) for line in opened.lines()] == [(1, b"one\n"), (2, None), (3, b"three\n")]
        assert opened.end == Place(file.stat().st_size - 4, 3)
        assert [line.text for line in opened.lines(opened.end)] == []


def test_a_whole_last_line_needs_no_line_end_and_a_mark_of_windows_is_no_part_of_the_first(read, tmp_path):
    first, second, third = (json.dumps({**LINE, "id": name, "usage": USAGE}).encode() for name in ("a", "b", "c"))
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + first + b"\r\n" + second)
    before = read(json_lines, None, name="calls.jsonl")
    with file.open("ab") as out:
        out.write(b"\r\n" + third + b"\n{}\n")
    after = read(json_lines, None, name="calls.jsonl", start=before.place)
    assert [call.external_id for call in before.calls + after.calls] == ["a", "b", "c"]
    assert [line for line, _sentence in before.refusals + after.refusals] == [4]


def test_a_fingerprint_tells_another_file_from_one_that_grew(tmp_path):
    file = tmp_path / "a.jsonl"

    def fingerprint(content, position=3000):
        file.write_bytes(content)
        with SourceFile(str(file)) as opened:
            return opened.fingerprint(position)

    content = bytes(range(256)) * 12
    known = fingerprint(content)
    assert fingerprint(content + b"more") == known
    for other in (b"x" + content, content[:2990] + b"x" + content[2991:], content[:2000]):
        assert fingerprint(other) != known


def test_only_files_are_opened_and_links_are_not_followed(tmp_path):
    import os

    below = tmp_path / "projects" / "deep"
    below.mkdir(parents=True)
    for name in ("projects/b.jsonl", "projects/deep/a.jsonl", "projects/c.txt"):
        (tmp_path / name).write_text("{}\n")
    os.mkfifo(below / "pipe.jsonl")
    (below / "loop").symlink_to(tmp_path / "projects")
    (below / "link.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "entry").symlink_to(tmp_path / "projects")
    found, unreadable = find_files([str(tmp_path / "entry"), str(tmp_path / "projects")], (".jsonl",))
    names = [path[len(str(tmp_path)) + 1 :] for path in found]
    assert names == [
        "projects/b.jsonl",
        "projects/deep/a.jsonl",
        "projects/deep/link.jsonl",
        "projects/deep/pipe.jsonl",
    ]
    assert unreadable == []
    for name in ("link.jsonl", "pipe.jsonl", "none.jsonl"):
        with pytest.raises(FileError):
            SourceFile(str(below / name))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86400),
        ("2026-03-29 10:00:00.5+02:00", 1774771200.5),
        ("2026-03-29T10:00:00-0530", 1774798200),
    ],
)
def test_moments(text, seconds):
    assert instant(moment(text)) == seconds


@pytest.mark.parametrize(
    "text", ["", "now", "2026-03-29", "2026-03-29T24:00:00Z", "2026-03-29T10:00:00", "0001-01-01T00:00:00Z", 5]
)
def test_what_is_no_moment(text):
    with pytest.raises(LineError):
        moment(text)


# Hostile values --------------------------------------------------------------------------------------------------------

FORMS = {
    "claude": (
        claude_code,
        ".jsonl",
        [claude_prompt(), claude_line("msg_1", 1, None), claude_line("msg_1"), claude_line("msg_2")],
    ),
    "codex": (
        codex,
        ".jsonl",
        [
            codex_session(forked_from_id=PARENT),
            codex_turn(),
            codex_total((100, 0, 5), (100, 0, 5), second=30),
            codex_record("resp_1", (50, 0, 5), (150, 0, 10), second=40),
            codex_total((150, 0, 10), second=41),
        ],
    ),
    "litellm": (litellm, ".jsonl", [spend_log(usage={"prompt_tokens_details": {"cached_tokens": 60}}), spend_log("b")]),
    "csv": (
        litellm,
        ".csv",
        [b"request_id,startTime,model,prompt_tokens,metadata", b'a,2026-03-10 12:00:00,gpt-5.4,5,"{""a"":1}"'],
    ),
    "jsonl": (
        json_lines,
        ".jsonl",
        [
            {**LINE, "usage": USAGE, "cost_usd": "1", "task_run_id": SESSION},
            {**LINE, "id": "b", "buckets": {"input_tokens": 1}},
        ],
    ),
}
HOSTILE = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            1.5,
            2**70,
            float("1e300"),
            "",
            " ",
            "\0",
            "\ud800",
            "x" * 5000,
            "\x1b[31m",
            "9" * 50,
            [],
            {},
            [[]],
            [{}],
            {"a": 1},
        ]
    ),
    st.text(max_size=5),
    st.dictionaries(
        st.sampled_from(["type", "input_tokens", "usage", "model", "data"]), st.integers() | st.text(max_size=3)
    ),
)


def replaced(value, dice, hostile):
    """The value with something in it replaced, removed or added."""
    if not isinstance(value, (dict, list)) or not value or dice.random() < 0.2:
        return hostile
    copy = value.copy()
    key = dice.choice(list(copy)) if isinstance(copy, dict) else dice.randrange(len(copy))
    if dice.random() < 0.1:
        del copy[key]
    else:
        copy[key] = replaced(copy[key], dice, hostile)
    return copy


@pytest.mark.parametrize("bodies", ["none", "full"])
@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_values_are_refused_or_harmless(read, name, bodies, data):
    form, ending, entries = FORMS[name]
    dice = data.draw(st.randoms(use_true_random=False))
    entries = list(entries)
    for _time in range(data.draw(st.integers(1, 3))):
        number = dice.randrange(len(entries))
        if isinstance(entries[number], bytes) or dice.random() < 0.2:
            line = entries[number] if isinstance(entries[number], bytes) else json.dumps(entries[number]).encode()
            place = dice.randrange(len(line) + 1)
            entries[number] = (
                line[:place] + data.draw(st.binary(max_size=4)).replace(b"\n", b"") + line[place + dice.randrange(3) :]
            )
        else:
            entries[number] = replaced(entries[number], dice, data.draw(HOSTILE))
    try:
        result = read(form, entries, name=f"hostile{ending}", options=ImportOptions("lab", bodies=bodies))
    except SummaryError:
        return
    for call in result.calls:
        for text in (call.source, call.external_id, call.model, call.provider, call.project or "", call.agent or ""):
            assert "\0" not in text
            assert len(text.encode()) <= 1000
        moment(call.at)
        assert call.buckets is None or min(vars(call.buckets).values()) >= 0
    for _line, sentence in result.refusals:
        assert sentence.endswith(".")


def test_a_strange_value_beside_the_counts_stops_no_import(read):
    strange, usual = claude_line("msg_01", 5), claude_line("msg_02", 7)
    strange["message"]["usage"].update(
        cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, server_tool_use="x"
    )
    result = read(claude_code, [strange, usual])
    assert [call.external_id for call in result.calls] == ["msg_02"]
    assert len(result.refusals) == 1


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_plain_usage_is_read_as_any_other(data):
    """What nearly every line has goes a shorter way to the same buckets."""
    count = st.integers(0, 10**9)
    short, long = data.draw(count), data.draw(count)
    usage = {
        "input_tokens": data.draw(count),
        "output_tokens": data.draw(count),
        "cache_read_input_tokens": data.draw(count),
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "server_tool_use": data.draw(st.sampled_from([None, {}, {"web_search_requests": 3}])),
        "service_tier": data.draw(st.sampled_from([None, "standard"])),
        "speed": data.draw(st.sampled_from([None, "standard"])),
        "inference_geo": data.draw(st.sampled_from([None, "", "not_available", "global"])),
        "iterations": data.draw(st.sampled_from([None, []])),
    }
    for name in data.draw(st.sets(st.sampled_from(list(usage)))) - {"input_tokens", "output_tokens", "cache_creation"}:
        if name != "cache_creation_input_tokens" or not short + long:
            del usage[name]
    buckets = claude_code.plain_buckets(usage)
    assert buckets is not None
    assert read_usage(usage, "claude") == ReportedUsage(buckets)
