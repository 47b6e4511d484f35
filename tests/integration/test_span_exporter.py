"""The exporter of spans: which spans become calls, what of them is stored, and what becomes of them while the database is away."""

import logging
import os
import random
import signal
import stat
import threading
import uuid

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import SettingsError
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger import call_spool, span_exporter, spans
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.span_exporter import LedgerSpanExporter
from command import run_command
from library_client import client_of
from opentelemetry.sdk.trace.export import SpanExportResult
from page_examples import run_examples
from recorder_lab import Wire, url_of
from span_lab import BEGAN, ROOT, calls_in, context, install_library, kill_exporters, other_span, span

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
KILLS = 5


@pytest.fixture
def db(database):
    with client_of(database) as client:
        yield client


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "calls"


@pytest.fixture
def exporter(db, spool):
    return LedgerSpanExporter(db, spool=str(spool))


def usage(db):
    """(model, input, output, cost) of what is counted, in order."""
    rows = db.query_many(
        "SELECT model, input_tokens, output_tokens, estimated_cost_usd FROM token_usage ORDER BY occurred_at, input_tokens"
    )
    return [tuple(row.values()) for row in rows]


def sentences(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def count(db, table="token_usage"):
    return db.query_one(f"SELECT count(*) AS n FROM {table}")["n"]


# -- which spans ---------------------------------------------------------------------------------------------------------


def test_a_call_is_recorded_as_the_span_tells(exporter, db):
    task = db.query_one("INSERT INTO tasks (title, created_by) VALUES ('Round', 'a test') RETURNING id")["id"]
    run = db.query_one("INSERT INTO task_runs (task_id) VALUES (%s) RETURNING id", [task])["id"]
    told = span(
        {
            "gen_ai.response.model": "gpt-5-2025-08-07",
            "gen_ai.response.id": "chatcmpl-0123456789abcdef",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.cache_read.input_tokens": 600,
            "openai.response.service_tier": "flex",
            "mission_control.agent": "steward",
            "mission_control.task_run_id": str(run),
            "gen_ai.input.messages": '[{"role": "user"}]',
        },
        resource={"mission_control.project": "homelab", "mission_control.agent": "of the resource"},
    )
    assert exporter.export([told]) is SUCCESS
    row = db.query_one(
        "SELECT u.*, q.messages, s.latency_ms, s.finish_reason, s.content, extract(epoch FROM u.occurred_at)::bigint AS at "
        "FROM token_usage AS u JOIN llm_requests AS q ON q.id = u.request_id JOIN llm_responses AS s ON s.request_id = q.id"
    )
    expected = {
        "provider": "openai",
        "model": "gpt-5-2025-08-07",
        "billing_mode": "flex",
        "input_tokens": 400,
        "cache_read_tokens": 600,
        "output_tokens": 100,
        "project": "homelab",
        "agent": "steward",
        "task_run_id": run,
        "source": "opentelemetry",
        "external_id": "chatcmpl-0123456789abcdef",
        "latency_ms": 1500,
        "finish_reason": "stop",
        "messages": None,
        "content": None,
        "at": BEGAN // 10**9,
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "provider"),
    [
        ({"gen_ai.provider.name": "anthropic"}, "claude"),
        ({"gen_ai.provider.name": None, "gen_ai.system": "Ollama"}, "ollama"),
        ({"gen_ai.provider.name": "gcp.gemini"}, "gemini"),
        ({"server.address": "models.github.ai"}, "github-models"),
        ({"server.address": "127.0.0.1", "server.port": 11434}, "ollama"),
        ({"gen_ai.provider.name": "Some One (beta)"}, "some-one-beta"),
    ],
)
def test_providers_have_the_names_of_the_price_list(exporter, db, changes, provider):
    exporter.export([span(changes)])
    assert db.query_one("SELECT provider FROM token_usage") == {"provider": provider}


def test_what_is_no_call_is_not_counted(exporter, db):
    for operation in ("invoke_agent", "execute_tool", "create_agent", "", 5):
        assert exporter.export([span({"gen_ai.operation.name": operation})]) is SUCCESS
    agent = {"gen_ai.operation.name": None, "openinference.span.kind": "AGENT"}
    exporter.export([span(agent), other_span()])
    assert (count(db, "llm_requests"), exporter.refused) == (0, 0)
    exporter.export([span({**agent, "openinference.span.kind": "LLM"})])
    assert count(db) == 1


@pytest.mark.parametrize("batches", ["one", "each its own"])
@pytest.mark.parametrize("parent_first", [False, True])
def test_of_calls_within_each_other_one_counts(exporter, db, batches, parent_first):
    agent = other_span()
    outer = span({"gen_ai.usage.input_tokens": 1}, agent)
    between = other_span(outer)
    inner = span({"gen_ai.usage.input_tokens": 2}, between if not parent_first else outer)
    beside = span({"gen_ai.usage.input_tokens": 3}, agent)
    ended = [outer, inner, beside, between, agent] if parent_first else [inner, between, outer, beside, agent]
    for batch in [ended] if batches == "one" else [[each] for each in ended]:
        assert exporter.export(batch) is SUCCESS
    # Of a parent that ended first and alone nobody could know what was still to come.
    first = 1 if parent_first and batches != "one" else 2
    assert [row[1] for row in usage(db)] == [first, 3]


def test_a_call_that_fell_back_to_another_counts_as_the_one_that_was_answered(exporter, db):
    outer = span({"gen_ai.usage.input_tokens": 5})
    failed = span({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}, outer, error="overloaded")
    exporter.export([failed, outer])
    assert [row[1] for row in usage(db)] == [5]
    assert db.query_many("SELECT error FROM llm_responses WHERE error IS NOT NULL") == [{"error": "overloaded"}]
    # With nothing answered the failure is one.
    outer = span({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}, error="all failed")
    failed = span({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}, outer, error="failed")
    exporter.export([failed, outer])
    assert count(db, "llm_responses WHERE error LIKE '%failed'") == 1
    # A failure that is told first does not hide what it cost.
    outer = span({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}, error="broken off")
    exporter.export([outer])
    exporter.export([span({"gen_ai.usage.input_tokens": 6}, outer)])
    assert [row[1] for row in usage(db)] == [5, 6]


def test_identifiers_that_are_too_short_count_within_their_trace(exporter, db):
    """Ollama's in OpenAI's form are numbers below a thousand."""
    first = span({"gen_ai.response.id": "chatcmpl-7"})
    again = span({"gen_ai.response.id": "chatcmpl-7"}, first)
    other = span({"gen_ai.response.id": "chatcmpl-7"})
    exporter.export([again])
    exporter.export([other])
    assert count(db) == 2
    exporter.export([span({"gen_ai.response.id": "chatcmpl-7"}, other_span(first))])
    assert count(db) == 2


def test_two_instrumentations_that_disagree_are_told_of(exporter, db, caplog):
    name = {"gen_ai.response.id": "msg_0123456789abcdefgh"}
    exporter.export([span(name), span(name, **{"gen_ai.usage.output_tokens": 101})])
    exporter.export([span(name, **{"gen_ai.usage.output_tokens": 102})])
    assert [row[2] for row in usage(db)] == [100]
    (said,) = sentences(caplog)
    assert "two instrumentations disagree" in said


def test_the_response_in_a_span_tells_more_than_the_sums_if_it_agrees_with_them(exporter, db):
    written = {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 20}
    response = (
        '{"id": "msg_0123456789abcdefgh", "type": "message", "model": "claude-opus-5", "usage": {"input_tokens": 30, '
        '"cache_creation_input_tokens": 70, "cache_creation": %s, "output_tokens": %d}}'
    )
    for output, own in ((9, True), (10, False)):
        told = {
            **dict.fromkeys(("gen_ai.operation.name", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")),
            "gen_ai.provider.name": "anthropic",
            "openinference.span.kind": "LLM",
            "llm.token_count.prompt": 100,
            "llm.token_count.completion": 9,
            "llm.token_count.prompt_details.cache_write": 70,
            "output.value": response % (str(written).replace("'", '"'), output),
        }
        exporter.export([span(told)])
        row = db.query_one(
            "SELECT cache_write_1h_tokens, external_id FROM token_usage ORDER BY (external_id LIKE 'msg%%') = %s DESC LIMIT 1",
            [own],
        )
        assert (row["cache_write_1h_tokens"], row["external_id"].startswith("msg_")) == (
            (20, True) if own else (0, False)
        )


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_usage_that_cannot_be_read_is_refused_once_and_loudly(exporter, db, caplog):
    none = {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    for changes in (none, {"gen_ai.usage.input_tokens": -5}, none):
        assert exporter.export([span(changes)]) is SUCCESS
    assert (count(db, "llm_requests"), exporter.refused) == (0, 3)
    exporter.export([span(none, scope="another")])
    assert [said.partition(" was not")[0] for said in sentences(caplog)] == [
        "A call of gpt-5 in a span of a.scope",
        "A call of gpt-5 in a span of another",
    ]
    exporter.shutdown()
    assert sentences(caplog)[-1].endswith("4 refused, 0 lost.")
    assert exporter.export([span()]) is FAILURE


def test_a_task_run_that_is_not_there_does_not_keep_a_call_out(exporter, db, caplog):
    for run in (str(uuid.uuid4()), "none", str(uuid.uuid4())):
        exporter.export([span({"mission_control.task_run_id": run}), span()])
    assert count(db, "token_usage WHERE task_run_id IS NULL") == 6
    assert len(sentences(caplog)) == 2


HOSTILE = (
    None, 0, -1, 10**30, 1.5, float("nan"), float("inf"), True, "", "x" * 100_000, "\0", "\ud800", "\u202e\x1b[31m", "17", b"\xff",
    ("a", 5), (), [1, [2]], {"a": 1}, object(),
)  # fmt: skip
NAMES = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.else_tokens",
    "gen_ai.response.finish_reasons", "llm.request.type", "llm.token_count.prompt", "output.value", "metadata.usage_object",
    "server.address", "server.port", "mission_control.project", "mission_control.agent", "mission_control.task_run_id", "error.type",
    "openai.response.service_tier", "gen_ai.input.messages", "gen_ai.prompt.0.content",
)  # fmt: skip


class Broken:
    """A span of which only some is there."""

    def __init__(self, whole, dice):
        self.__dict__ = {
            name: dice.choice([getattr(whole, name), *dice.choices(HOSTILE, k=2)])
            for name in ("context", "parent", "attributes", "resource", "status", "start_time", "end_time", "name")
        }
        self.instrumentation_scope = dice.choice([whole.instrumentation_scope, None, 5])


def test_hostile_spans_harm_nobody(db, spool, caplog):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    exporter = LedgerSpanExporter(db, spool=str(spool), bodies="full")
    for _round in range(60):
        spans = []
        for _number in range(20):
            told = span({name: dice.choice(HOSTILE) for name in dice.sample(NAMES, dice.randint(0, 5))})
            # The SDK itself drops many of them; another processor need not.
            told._attributes = {**told._attributes, dice.choice(NAMES): dice.choice(HOSTILE)}
            told._parent = dice.choice([None, told.context, *(each.context for each in spans[-3:])])
            told._start_time = dice.choice([BEGAN, BEGAN, None, -1, 2**80, "now"])
            spans.append(told)
        broken = [Broken(each, dice) for each in dice.sample(spans, 5)]
        assert exporter.export([*spans, *broken]) is SUCCESS
    assert exporter.refused > 100
    assert count(db) > 50
    assert all("\n" not in said and len(said) < 1000 and said.isprintable() for said in sentences(caplog))
    assert len(sentences(caplog)) <= 600
    # And the next one is recorded as ever.
    before = count(db)
    exporter.export([span()])
    assert (count(db), calls_in(spool)) == (before + 1, [])


def test_what_is_remembered_is_bounded(exporter, monkeypatch):
    monkeypatch.setattr(spans, "_MOST_REMEMBERED", 50)
    told = span(parent=other_span())
    for number in range(200):
        told._context, told._parent = context(number), context(10**6 + number)
        exporter._calls.read([told])
    assert (len(exporter._calls._holds), len(exporter._calls._taken)) == (50, 50)


def test_bodies_are_stored_only_where_they_are_asked_for(db, spool, monkeypatch):
    said = {
        "gen_ai.input.messages": '[{"role": "user", "content": "Which container?"}]',
        "gen_ai.output.messages": "It is plex." * 1000,
    }
    for bodies in ("none", "truncated", "full"):
        monkeypatch.setenv("MISSION_CONTROL_SPANS_BODIES", bodies)
        LedgerSpanExporter(db, spool=str(spool)).export(
            [span(said, seconds={"none": 1, "truncated": 2, "full": 3}[bodies])]
        )
    rows = db.query_many(
        "SELECT q.body_storage, q.messages, length(s.content) AS length FROM llm_requests AS q JOIN llm_responses AS s "
        "ON s.request_id = q.id ORDER BY s.latency_ms"
    )
    prompt = [{"role": "user", "content": "Which container?"}]
    assert [(row["body_storage"], row["messages"]) for row in rows] == [
        ("none", None),
        ("truncated", prompt),
        ("full", prompt),
    ]
    assert rows[0]["length"] is None
    assert 2000 < rows[1]["length"] < 2100
    assert rows[2]["length"] == 11_000
    monkeypatch.setenv("MISSION_CONTROL_SPANS_BODIES", "some")
    with pytest.raises(SettingsError, match="MISSION_CONTROL_SPANS_BODIES must be one of none, truncated, full"):
        LedgerSpanExporter(db)


# -- while the database is away ----------------------------------------------------------------------------------------------


@pytest.fixture
def wired(database, tmp_path, monkeypatch):
    """The wire to the database, and an exporter that finds it in the environment and waits a little less."""
    monkeypatch.setattr(span_exporter, "_FIRST_PAUSE", 1e-9)
    wire = Wire(database.cluster, tmp_path / "wire")
    wire.connect()
    monkeypatch.setenv("DATABASE_URL", url_of(database, wire.directory))
    exporter = LedgerSpanExporter(spool=str(tmp_path / "calls"))
    yield wire, exporter
    exporter.shutdown()


def test_what_the_database_does_not_take_waits_in_the_spool(wired, spool, db, caplog):
    wire, exporter = wired
    wire.cut()
    for number in range(1, 4):
        assert exporter.export([span({"gen_ai.usage.input_tokens": number})]) is SUCCESS
    assert (len(calls_in(spool)), exporter.kept) == (3, 3)
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in spool.iterdir()} == {0o600}
    (said,) = sentences(caplog)
    assert f"are kept in {spool} until the database takes them: " in said
    wire.connect()
    # Also where there is nothing new.
    assert exporter.export([other_span()]) is SUCCESS
    assert [row[1] for row in usage(db)] == [1, 2, 3]
    assert list(spool.iterdir()) == []


def test_a_connection_that_is_silent_is_left(wired, spool, db, monkeypatch):
    _wire, exporter = wired
    exporter.export([span()])
    pid = db.query_one("SELECT pid FROM pg_stat_activity WHERE application_name = 'mission_control spans'")["pid"]
    monkeypatch.setattr(span_exporter, "_MOST_SECONDS", 0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert exporter.export([span(), span()]) is SUCCESS
        assert count(db) + len(calls_in(spool)) == 3
    finally:
        os.kill(pid, signal.SIGCONT)
    exporter.export([span()])
    assert (count(db), calls_in(spool)) == (4, [])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody@127.0.0.1:1/nothing", "127.0.0.1"),
        ("http://x:secretive@y", "DATABASE_URL"),
        ("postgresql://h:notaport/x", "DATABASE_URL"),
    ],
)
def test_a_wrong_address_is_one_sentence_and_the_calls_are_kept(spool, caplog, monkeypatch, url, said):
    monkeypatch.setenv("DATABASE_URL", url)
    exporter = LedgerSpanExporter(spool=str(spool))
    for _number in range(3):
        assert exporter.export([span()]) is SUCCESS
    assert len(calls_in(spool)) == 3
    (sentence,) = sentences(caplog)
    assert said in sentence
    assert "secretive" not in sentence


def test_a_login_without_the_right_keeps_the_calls(database, spool, db, caplog):
    with client_of(database, "readonly") as reader:
        assert LedgerSpanExporter(reader, spool=str(spool)).export([span()]) is SUCCESS
    assert (count(db), len(calls_in(spool))) == (0, 1)
    assert "permission denied" in sentences(caplog)[0]
    LedgerSpanExporter(db, spool=str(spool)).export([])
    assert (count(db), calls_in(spool)) == (1, [])


def test_a_spool_that_is_full_or_strange_is_an_error_and_no_exception(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    spool = tmp_path / "calls"
    exporter = LedgerSpanExporter(spool=str(spool), max_spool_bytes=1000)
    results = [exporter.export([span()]) for _number in range(5)]
    assert (results.count(SUCCESS), len(calls_in(spool))) == (exporter.kept, exporter.kept)
    assert 0 < exporter.kept < 5
    assert exporter.lost == 5 - exporter.kept
    assert "1 calls of language models are lost" in sentences(caplog)[-1]
    spool.chmod(0o755)
    assert exporter.export([span()]) is FAILURE
    assert "0700" in sentences(caplog)[-1]
    (tmp_path / "link").symlink_to(spool)
    assert LedgerSpanExporter(spool=str(tmp_path / "link")).export([span()]) is FAILURE


def test_lines_of_a_spool_that_are_none_are_put_aside(exporter, db, spool):
    kept = call_spool.CallSpool(str(spool))
    (line,) = exporter._calls.read([span()])
    for bad in ({**line, "buckets": {"input_tokens": "5"}, "id": "b"}, {**line, "at": "noon", "id": "c"}, {"v": 1}):
        kept.append([bad])
    kept.append([line])
    (file,) = spool.iterdir()
    with file.open("ab") as content:
        content.write(b'no line\n[1]\n{"v": 2}\n{"v": 1, "half')
    exporter.export([])
    assert count(db) == 1
    assert exporter.refused == 3
    assert [each.suffix for each in spool.iterdir()] == [".refused"]
    exporter.export([span()])
    assert count(db) == 2


def test_the_spool_can_be_imported_and_counts_once_all_the_same(database, db, spool, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    none = {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    names = {"mission_control.project": "homelab", "gen_ai.response.finish_reasons": ("stop",)}
    LedgerSpanExporter(spool=str(spool), bodies="full").export([span(), span(names), span(none, error="broken")])
    imported = run_command(database, "import", "jsonl", str(spool))
    assert (imported.returncode, count(db)) == (0, 2), imported.stderr
    LedgerSpanExporter(db, spool=str(spool)).export([])
    assert (count(db), count(db, "llm_requests"), calls_in(spool)) == (2, 3, [])


def test_many_writers_and_readers_of_one_spool_lose_and_repeat_nothing(database, db, spool):
    stop = threading.Event()
    names = [f"call-{number:020d}" for number in range(400)]

    def write(part):
        kept = call_spool.CallSpool(str(spool))
        for name in part:
            kept.append(LedgerSpanExporter(db, spool=str(spool))._calls.read([span({"gen_ai.response.id": name})]))

    def read():
        exporter = LedgerSpanExporter(db, spool=str(spool))
        while not stop.is_set():
            exporter.export([])

    writers = [threading.Thread(target=write, args=[names[start::4]]) for start in range(4)]
    readers = [threading.Thread(target=read) for _number in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    LedgerSpanExporter(db, spool=str(spool)).export([])
    stored = {row["external_id"] for row in db.query_many("SELECT external_id FROM token_usage")}
    assert (stored, count(db), list(spool.iterdir())) == (set(names), 400, [])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_both_sides_export(database, db, spool, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", url_of(database))
    exporter = LedgerSpanExporter(spool=str(spool))
    exporter.export([span()])
    pid = os.fork()
    if pid == 0:
        os._exit(0 if exporter.export([span()]) is SUCCESS and exporter.recorded == 2 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    exporter.export([span()])
    exporter.shutdown()
    assert (count(db), calls_in(spool)) == (3, [])


def test_kill_9_loses_nothing_that_was_acknowledged(database, spool, tmp_path):
    acknowledged, kept = kill_exporters(database, spool, install_library(tmp_path), random.Random(), KILLS)
    assert acknowledged > KILLS
    assert kept > 0


def test_the_example_of_the_page_runs(database, db, tmp_path):
    count_of_examples, result = run_examples(ROOT / "docs" / "spans.md", database, tmp_path)
    assert (count_of_examples, result.returncode, result.stderr) == (1, 0, "")
    assert usage(db)[0][:3] == ("gpt-5", 1200, 340)
