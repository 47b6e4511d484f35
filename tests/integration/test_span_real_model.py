"""A real model behind three of the providers' forms: what the exporter records equals the usage that the SDKs themselves report.

The server is llama.cpp's (scripts/real-model) with a model of 135 million parameters; the same prompt again is answered out of its cache.
"""

import json
import subprocess

import pytest
from span_lab import ROOT, calls_in
from span_programs import SdkPrograms

PROGRAM = """
import json
import anthropic, openai

ASK = [{"role": "user", "content": "Which container restarts most often, and what should be done about it?"}]
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}

def tell(provider, usage):
    print(json.dumps([provider, "smollm2", usage.model_dump(exclude_none=True)]))

client = openai.OpenAI()
for _again in range(2):
    tell("openai", client.chat.completions.create(model="smollm2", messages=ASK, max_tokens=20).usage)
    for part in client.chat.completions.create(model="smollm2", messages=ASK, max_tokens=20, **WITH_USAGE):
        last = part
    tell("openai", last.usage)
    tell("openai", client.responses.create(model="smollm2", input=ASK, max_output_tokens=20).usage)
    for event in client.responses.create(model="smollm2", input=ASK, max_output_tokens=20, stream=True):
        last = event
    tell("openai", last.response.usage)
client = anthropic.Anthropic()
for _again in range(2):
    tell("claude", client.messages.create(model="smollm2", messages=ASK, max_tokens=20).usage)
    with client.messages.stream(model="smollm2", messages=ASK, max_tokens=20) as stream:
        tell("claude", stream.get_final_message().usage)
"""
PRICES = [
    {"provider": provider, "model": "smollm2", "input": 3, "cache_read": 0.3, "output": 15}
    for provider in ("openai", "claude")
]


@pytest.fixture
def address():
    with subprocess.Popen(
        [str(ROOT / "scripts" / "real-model")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()


def test_calls_of_a_real_model_are_recorded_as_its_sdks_count_them(database, owner, address, tmp_path):
    owner.value("SELECT apply_provider_prices(%s::jsonb, 'user')", json.dumps(PRICES))
    providers = {"OPENAI_BASE_URL": f"{address}/v1", "ANTHROPIC_BASE_URL": address}
    programs = SdkPrograms(database, {**providers, "OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none"}, tmp_path)
    said = [json.loads(line) for line in programs.run(PROGRAM).stdout.splitlines()]
    assert len(said) == 12
    recorded = programs.recorded()
    assert recorded == programs.directly(said)
    assert calls_in(programs.spool) == []
    # Nothing of it is nothing: each has a cost, and most a part out of the cache.
    assert all(row[-1] > 0 for row in recorded)
    assert sum(row[6] > 0 for row in recorded) >= 8
