"""Unchanged programs with the providers' SDKs and their instrumentations: what the exporter records equals what the SDK's own usage gives.

The programs run in the environment of scripts/sdks, against servers that answer in the providers' forms.
"""

import os
import pathlib
import re
import subprocess

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import record_llm_call
from library_client import client_of
from provider_servers import ProviderServer
from recorder_lab import url_of
from span_lab import ROOT, calls_in, environment, install_library, page_program

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
BUCKETS = """input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
    audio_input_tokens, audio_cache_read_tokens, audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens"""
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
RUN = "opentelemetry-instrument python program.py"


@pytest.fixture(scope="session")
def sdks():
    """Directory of the programs in the environment with the SDKs."""
    made = subprocess.run(
        [str(ROOT / "scripts" / "sdks"), "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return pathlib.Path(made.stdout.strip()) / "bin"


@pytest.fixture(scope="session")
def second(sdks):
    """A directory with further instrumentations."""
    place = ROOT / ".cache" / "sdks-second"
    stamp = place / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != "\n".join(SECOND):
        install = [sdks / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", place]
        subprocess.run([*install, *SECOND], check=True)
        stamp.write_text("\n".join(SECOND), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return install_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


class Lab:
    """Runs programs and compares.

    Attributes:
        database: with what they recorded.
        spool: where they put what it did not take.
    """

    def __init__(self, database, server, sdks, library, directory):
        self.database = database
        self.server = server
        self.spool = directory / "spool"
        self._directory = directory
        self._path = [library]
        self._variables = environment(library, url_of(database), self.spool, **server.environment)
        self._variables["PATH"] = os.pathsep.join([str(sdks), os.environ["PATH"]])
        self._variables["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

    def run(self, program, command=RUN, *also, **variables):
        (self._directory / "program.py").write_text(program, encoding="utf-8")
        path = os.pathsep.join(str(each) for each in (*self._path, *also))
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=self._directory,
            env={**self._variables, "PYTHONPATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def recorded(self, source="opentelemetry"):
        """(provider, model, billing mode, buckets, cost) of each call, in the order of the calls."""
        with client_of(self.database) as client:
            rows = client.query_many(
                f"SELECT provider, model, billing_mode, cost_source, {BUCKETS}, estimated_cost_usd FROM token_usage "
                "WHERE source = %s ORDER BY occurred_at",
                [source],
            )
        return [tuple(row.values()) for row in rows]

    def answered(self):
        """The same of what the server answered, recorded without a detour."""
        with client_of(self.database) as client:
            for number, call in enumerate(self.server.answered):
                provider = PROVIDERS.get(call.form, "openai")
                usage = {"done": True, **call.usage} if call.form == "ollama" else call.usage
                record_llm_call(
                    client, provider=provider, model=call.model, usage=usage, source="direct", external_id=str(number)
                )
        return self.recorded("direct")


@pytest.fixture
def lab(database, server, sdks, library, tmp_path):
    return Lab(database, server, sdks, library, tmp_path)


def test_every_form_is_recorded_as_its_own_usage_says(lab):
    said = lab.run(PROGRAM).stderr
    assert len(lab.server.answered) == CALLS
    assert lab.recorded() == lab.answered()
    assert said == ""
    stored = lab.database.session().values("SELECT external_id FROM llm_requests WHERE source = 'opentelemetry'")
    assert {call.id for call in lab.server.answered if call.id} <= set(stored)
    assert calls_in(lab.spool) == []


def test_calls_that_several_instrumentations_see_count_once(lab, second):
    said = lab.run(PROGRAM, RUN, second).stderr
    assert len(lab.server.answered) == CALLS
    assert lab.recorded() == lab.answered()
    # One of them is wrong about streams of Anthropic's, and one knows nothing of Gemini's thoughts.
    assert "two instrumentations disagree about it" in said


@pytest.mark.parametrize("page", PAGES, ids=[page.stem.removeprefix("adapter-") for page in PAGES])
def test_the_program_of_a_page(lab, page):
    program, installed, command = page_program(page)
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-sdks.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.partition("[")[0] for name in installed} - {"mission-control-database"} <= set(pinned)
    assert "It is plex." in lab.run(program, command).stdout
    assert len(lab.server.answered) >= 1
    assert lab.recorded() == lab.answered()


def test_while_the_database_is_away_the_calls_of_a_program_wait_in_the_spool(lab):
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


def test_a_call_that_fails_is_recorded_with_its_error(lab):
    lab.server.fails_with = 400
    lab.run(FAILING)
    rows = lab.database.session().rows(
        "SELECT q.provider, q.model, s.error FROM llm_requests AS q JOIN llm_responses AS s ON s.request_id = q.id ORDER BY q.occurred_at"
    )
    assert [(row["provider"], row["model"], bool(row["error"])) for row in rows] == [
        ("openai", "gpt-5", True),
        ("claude", "claude-opus-5", True),
    ]
    assert lab.recorded() == []
