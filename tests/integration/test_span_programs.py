"""Unchanged programs with the providers' SDKs and their instrumentations: what the exporter records equals what the SDK's own usage gives.

The programs run in the environment of scripts/sdks, against servers that answer in the providers' forms.
"""

import re
import subprocess

import pytest
from provider_servers import ProviderServer
from span_lab import ROOT, calls_in, page_program
from span_programs import RUN, SdkPrograms, sdk_programs

PAGES = sorted((ROOT / "docs").glob("adapter-*.md"))
PROVIDERS = {"anthropic": "claude", "gemini": "gemini", "ollama": "ollama"}
# Which see the same calls as those in requirements-sdks.txt; what they need beside is installed with these.
SECOND = (
    "openinference-instrumentation-anthropic==3.1.0",
    "openinference-instrumentation-ollama==0.1.13",
    "openinference-instrumentation-openai==0.1.66",
    "opentelemetry-instrumentation-anthropic==0.62.4",
    "opentelemetry-instrumentation-google-generativeai==0.62.4",
)
# Every form plain and streamed, by the synchronous and the asynchronous client of each SDK.
PROGRAM = """
import asyncio
import anthropic, ollama, openai
from google import genai

ASK = [{"role": "user", "content": "Which container restarts most often?"}]
USAGE = {"include_usage": True}
CHAT = {"model": "gpt-5", "messages": ASK}
CLAUDE = {"model": "claude-opus-5", "max_tokens": 100, "messages": ASK}
GEMINI = {"model": "gemini-2.5-pro", "contents": "Which?"}
LLAMA = {"model": "llama3.2"}

def plain():
    client = openai.OpenAI()
    client.chat.completions.create(**CHAT)
    list(client.chat.completions.create(**CHAT, stream=True, stream_options=USAGE))
    client.responses.create(model="gpt-5", input="Why?")
    list(client.responses.create(model="gpt-5", input="Why?", stream=True))
    client.embeddings.create(model="text-embedding-3-small", input="plex")
    client = anthropic.Anthropic()
    client.messages.create(**CLAUDE)
    list(client.messages.create(**CLAUDE, stream=True))
    with client.messages.stream(**CLAUDE) as stream:
        stream.get_final_message()
    client = genai.Client()
    client.models.generate_content(**GEMINI)
    list(client.models.generate_content_stream(**GEMINI))
    ollama.chat(**LLAMA, messages=ASK)
    list(ollama.chat(**LLAMA, messages=ASK, stream=True))
    ollama.generate(**LLAMA, prompt="Why?")
    list(ollama.generate(**LLAMA, prompt="Why?", stream=True))

async def read(stream):
    async for _part in stream:
        pass

async def asynchronous():
    client = openai.AsyncOpenAI()
    await client.chat.completions.create(**CHAT)
    await read(await client.chat.completions.create(**CHAT, stream=True, stream_options=USAGE))
    await client.responses.create(model="gpt-5", input="Why?")
    await read(await client.responses.create(model="gpt-5", input="Why?", stream=True))
    await client.embeddings.create(model="text-embedding-3-small", input="plex")
    client = anthropic.AsyncAnthropic()
    await client.messages.create(**CLAUDE)
    await read(await client.messages.create(**CLAUDE, stream=True))
    async with client.messages.stream(**CLAUDE) as stream:
        await stream.get_final_message()
    client = genai.Client()
    await client.aio.models.generate_content(**GEMINI)
    await read(await client.aio.models.generate_content_stream(**GEMINI))
    client = ollama.AsyncClient()
    await client.chat(**LLAMA, messages=ASK)
    await read(await client.chat(**LLAMA, messages=ASK, stream=True))
    await client.generate(**LLAMA, prompt="Why?")
    await read(await client.generate(**LLAMA, prompt="Why?", stream=True))

plain()
asyncio.run(asynchronous())
"""
CALLS = 28
FAILING = """
import contextlib
import anthropic, openai

ASK = [{"role": "user", "content": "Which container restarts most often?"}]
with contextlib.suppress(openai.BadRequestError):
    openai.OpenAI().chat.completions.create(model="gpt-5", messages=ASK)
with contextlib.suppress(anthropic.BadRequestError):
    anthropic.Anthropic().messages.create(model="claude-opus-5", max_tokens=100, messages=ASK)
"""


@pytest.fixture(scope="session")
def second():
    """A directory with further instrumentations."""
    place = ROOT / ".cache" / "sdks-second"
    stamp = place / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != "\n".join(SECOND):
        install = [
            sdk_programs() / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            "--target",
            place,
        ]
        subprocess.run([*install, *SECOND], check=True)
        stamp.write_text("\n".join(SECOND), encoding="utf-8")
    return place


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
def lab(database, server, tmp_path):
    return SdkPrograms(database, server.environment, tmp_path)


def answered(lab, server):
    """What the server answered, recorded without a detour."""
    return lab.directly(
        (
            PROVIDERS.get(call.form, "openai"),
            call.model,
            {"done": True, **call.usage} if call.form == "ollama" else call.usage,
        )
        for call in server.answered
    )


def test_every_form_is_recorded_as_its_own_usage_says(lab, server):
    said = lab.run(PROGRAM).stderr
    assert len(server.answered) == CALLS
    assert lab.recorded() == answered(lab, server)
    assert said == ""
    stored = lab.database.session().values("SELECT external_id FROM llm_requests WHERE source = 'opentelemetry'")
    assert {call.id for call in server.answered if call.id} <= set(stored)
    assert calls_in(lab.spool) == []


def test_calls_that_several_instrumentations_see_count_once(lab, server, second):
    said = lab.run(PROGRAM, RUN, second).stderr
    assert len(server.answered) == CALLS
    assert lab.recorded() == answered(lab, server)
    # One of them is wrong about streams of Anthropic's, and one knows nothing of Gemini's thoughts.
    assert "two instrumentations disagree about it" in said


@pytest.mark.parametrize("page", PAGES, ids=[page.stem.removeprefix("adapter-") for page in PAGES])
def test_the_program_of_a_page(lab, server, page):
    program, installed, command = page_program(page)
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-sdks.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.partition("[")[0] for name in installed} - {"."} <= set(pinned)
    assert "It is plex." in lab.run(program, command).stdout
    assert len(server.answered) >= 1
    assert lab.recorded() == answered(lab, server)


def test_while_the_database_is_away_the_calls_of_a_program_wait_in_the_spool(lab, server):
    page = ROOT / "docs" / "adapter-ollama.md"
    program, _installed, command = page_program(page)
    said = lab.run(program, command, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing").stderr
    assert len(calls_in(lab.spool)) == 3
    assert said.count("\n") == 1
    assert f"are kept in {lab.spool} until the database takes them" in said
    lab.run(program, command)
    assert len(lab.recorded()) == 6
    assert calls_in(lab.spool) == []
    assert "postgresql://" not in said


def test_a_call_that_fails_is_recorded_with_its_error(lab, server):
    server.fails_with = 400
    lab.run(FAILING)
    rows = lab.database.session().rows(
        "SELECT q.provider, q.model, s.error FROM llm_requests AS q JOIN llm_responses AS s ON s.request_id = q.id ORDER BY q.occurred_at"
    )
    assert [(row["provider"], row["model"], bool(row["error"])) for row in rows] == [
        ("openai", "gpt-5", True),
        ("claude", "claude-opus-5", True),
    ]
    assert lab.recorded() == []
