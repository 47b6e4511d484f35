"""Usage in objects of the providers' own SDKs, the newest: each form is read right or refused, and no count in it is passed over."""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]

OPENAI = "openai.types"
ANTHROPIC = "anthropic.types"
CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 20, "rejected_prediction_tokens": 5},
}
CHAT_READ = {
    "input_tokens": 30,
    "cache_read_tokens": 60,
    "cache_write_5m_tokens": 10,
    "output_tokens": 30,
    "reasoning_tokens": 20,
}
RESPONSES = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
NO_WRITES = {**RESPONSES, "input_tokens_details": {"cached_tokens": 60}}
NO_WRITES_READ = {"input_tokens": 40, "cache_read_tokens": 60, "output_tokens": 30, "reasoning_tokens": 20}
LIVES = {
    **RESPONSES,
    "input_tokens_details": {
        "cached_tokens": 60,
        "cache_write_tokens": 10,
        "cache_write_tokens_details": {"ttl_30m_tokens": 4, "ttl_12h_tokens": 6},
    },
}
SUMS = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
SUMS_READ = {"input_tokens": 100, "output_tokens": 50}
TRANSCRIPT = {**SUMS, "type": "tokens", "input_token_details": {"audio_tokens": 90, "text_tokens": 10}}
TRANSCRIPT_READ = {"input_tokens": 10, "audio_input_tokens": 90, "output_tokens": 50}
IMAGES = {
    **SUMS,
    "input_tokens_details": {"image_tokens": 80, "text_tokens": 20},
    "output_tokens_details": {"image_tokens": 45, "text_tokens": 5},
}
IMAGES_READ = {"input_tokens": 20, "image_input_tokens": 80, "output_tokens": 5, "image_output_tokens": 45}
STREAMED = {**SUMS, "input_tokens_details": {"image_tokens": 80, "text_tokens": 20}}
STREAMED_READ = {"input_tokens": 20, "image_input_tokens": 80, "image_output_tokens": 50}
REALTIME = {
    **SUMS,
    "input_token_details": {
        "text_tokens": 40,
        "audio_tokens": 50,
        "image_tokens": 10,
        "cached_tokens": 60,
        "cached_tokens_details": {"text_tokens": 30, "audio_tokens": 25, "image_tokens": 5},
    },
    "output_token_details": {"text_tokens": 20, "audio_tokens": 30},
}
REALTIME_READ = {
    "input_tokens": 10,
    "cache_read_tokens": 30,
    "audio_input_tokens": 25,
    "audio_cache_read_tokens": 25,
    "image_input_tokens": 5,
    "image_cache_read_tokens": 5,
    "output_tokens": 20,
    "audio_output_tokens": 30,
}
MESSAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 18},
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 20},
    "service_tier": "batch",
    "inference_geo": "eu",
    "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0},
}
MESSAGE_READ = {
    "input_tokens": 10,
    "cache_read_tokens": 60,
    "cache_write_5m_tokens": 12,
    "cache_write_1h_tokens": 18,
    "output_tokens": 30,
    "reasoning_tokens": 20,
}
TURN = {key: MESSAGE[key] for key in list(MESSAGE)[:5]}
ADVICE = {
    "type": "advisor_message",
    "model": "claude-opus-5",
    "input_tokens": 7,
    "output_tokens": 8,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_creation": None,
}
GEMINI = {
    "prompt_token_count": 100,
    "cached_content_token_count": 60,
    "candidates_token_count": 30,
    "thoughts_token_count": 20,
    "tool_use_prompt_token_count": 5,
    "total_token_count": 155,
    "prompt_tokens_details": [
        {"modality": "TEXT", "token_count": 70},
        {"modality": "AUDIO", "token_count": 20},
        {"modality": "IMAGE", "token_count": 10},
    ],
    "cache_tokens_details": [{"modality": "TEXT", "token_count": 52}, {"modality": "AUDIO", "token_count": 8}],
    "candidates_tokens_details": [{"modality": "TEXT", "token_count": 20}, {"modality": "AUDIO", "token_count": 10}],
}
GEMINI_READ = {
    "input_tokens": 23,
    "cache_read_tokens": 52,
    "audio_input_tokens": 12,
    "audio_cache_read_tokens": 8,
    "image_input_tokens": 10,
    "output_tokens": 20,
    "audio_output_tokens": 10,
    "reasoning_tokens": 20,
}
LIVE = {
    ("response" + key[len("candidates") :] if key.startswith("candidates") else key): value
    for key, value in GEMINI.items()
}
INTERACTION = {
    "total_input_tokens": 100,
    "total_cached_tokens": 60,
    "total_output_tokens": 30,
    "total_thought_tokens": 20,
    "total_tool_use_tokens": 5,
    "total_tokens": 155,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 80}, {"modality": "audio", "tokens": 20}],
    "cached_tokens_by_modality": [{"modality": "text", "tokens": 52}, {"modality": "audio", "tokens": 8}],
    "output_tokens_by_modality": [{"modality": "text", "tokens": 30}],
}
INTERACTION_READ = {
    "input_tokens": 33,
    "cache_read_tokens": 52,
    "audio_input_tokens": 12,
    "audio_cache_read_tokens": 8,
    "output_tokens": 30,
    "reasoning_tokens": 20,
}
OLLAMA = {"model": "gemma4", "done": True, "prompt_eval_count": 100, "eval_count": 50}
RUN = {
    "input_tokens": 100,
    "cache_read_tokens": 60,
    "cache_write_tokens": 10,
    "cache_write_1h_tokens": 4,
    "output_tokens": 50,
    "output_reasoning_tokens": 20,
    "output_audio_tokens": 5,
}
RUN_READ = {
    "input_tokens": 30,
    "cache_read_tokens": 60,
    "cache_write_5m_tokens": 6,
    "cache_write_1h_tokens": 4,
    "output_tokens": 25,
    "reasoning_tokens": 20,
    "audio_output_tokens": 5,
}
IMAGE_TOOL = {
    **IMAGES,
    "cached_tokens": 30,
    "cached_tokens_details": {"cached_image_tokens": 20, "cached_text_tokens": 10},
}
IMAGE_TOOL_READ = {
    **IMAGES_READ,
    "input_tokens": 10,
    "cache_read_tokens": 10,
    "image_input_tokens": 60,
    "image_cache_read_tokens": 20,
}
SVG = {"model": "gpt-5.6", "input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 1, "total_tokens": 13}
RESPONSE = {
    "id": "resp_1",
    "created_at": 1,
    "model": "gpt-5.6",
    "object": "response",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
    "service_tier": "flex",
    "usage": RESPONSES,
    "tool_usage": {"image_gen": IMAGE_TOOL, "web_search": {"num_requests": 1}},
}
BETA_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": [],
    "usage": {
        **MESSAGE,
        "service_tier": "standard",
        "speed": "fast",
        "iterations": [
            {**TURN, "type": "message", "model": "claude-fable-5"},
            ADVICE,
            {**TURN, "type": "fallback_message", "model": "claude-opus-4-8"},
        ],
    },
}
TURN_READ = {**MESSAGE_READ, "output_tokens": 50, "reasoning_tokens": 0}
LITELLM = {
    **CHAT,
    "prompt_tokens_details": {
        "cached_tokens": 60,
        "cache_write_tokens": 30,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 18},
    },
}
# What repeats other counts, or says that tokens counted elsewhere were so or so.
EXPLAIN = (
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
    "text_tokens",
    "video_tokens",
    # Of Gemini's lists by modality the first item, that of text.
    ".0.token_count",
    ".0.tokens",
    # An image in a prompt of which a part is cached, nobody says which.
    "prompt_tokens_details.image_tokens",
    "initial_input_tokens",
    "initial_prompt_tokens",
    "tool_use_tokens",
    # LiteLLM itself replaces it by its other name.
    "cache_creation_tokens",
)
# Each: the class, what an object of it is made of, and the buckets; also the mode and further usage, where they are not the usual.
CASES = {
    "chat": (f"{OPENAI}.completion_usage.CompletionUsage", CHAT, CHAT_READ),
    "chat with audio": (
        f"{OPENAI}.completion_usage.CompletionUsage",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"audio_tokens": 40, "image_tokens": 10},
            "completion_tokens_details": {"audio_tokens": 30},
        },
        {
            "input_tokens": 50,
            "audio_input_tokens": 40,
            "image_input_tokens": 10,
            "output_tokens": 20,
            "audio_output_tokens": 30,
        },
    ),
    "chat completion": (
        f"{OPENAI}.chat.chat_completion.ChatCompletion",
        {
            "id": "chatcmpl-1",
            "choices": [],
            "created": 1,
            "model": "gpt-5.6",
            "object": "chat.completion",
            "service_tier": "priority",
            "usage": CHAT,
        },
        CHAT_READ,
        "priority",
    ),
    "embedding": (
        f"{OPENAI}.create_embedding_response.Usage",
        {"prompt_tokens": 8, "total_tokens": 8},
        {"input_tokens": 8},
    ),
    "responses": (f"{OPENAI}.responses.response_usage.ResponseUsage", RESPONSES, CHAT_READ),
    "responses with lives of the cache": (
        f"{OPENAI}.responses.response_usage.ResponseUsage",
        LIVES,
        {**CHAT_READ, "cache_write_5m_tokens": 4, "cache_write_1h_tokens": 6},
    ),
    "beta responses": (f"{OPENAI}.beta.beta_response_usage.BetaResponseUsage", RESPONSES, CHAT_READ),
    "response with an image": (
        f"{OPENAI}.responses.response.Response",
        RESPONSE,
        CHAT_READ,
        "flex",
        [("image", "gpt-image-2", IMAGE_TOOL_READ)],
    ),
    "decision": (f"{OPENAI}.decision.Usage", RESPONSES, CHAT_READ),
    "agent": (f"{OPENAI}.beta.token_usage.TokenUsage", NO_WRITES, NO_WRITES_READ),
    "assistant's run": (
        f"{OPENAI}.beta.threads.run.Usage",
        {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        SUMS_READ,
    ),
    "assistant's step": (
        f"{OPENAI}.beta.threads.runs.run_step.Usage",
        {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        SUMS_READ,
    ),
    "images": (f"{OPENAI}.images_response.Usage", IMAGES, IMAGES_READ),
    "images response with a drawing": (
        f"{OPENAI}.images_response.ImagesResponse",
        {"created": 1, "usage": IMAGES, "svg_usage": SVG},
        IMAGES_READ,
        "standard",
        [("svg", "gpt-5.6", {"input_tokens": 9, "output_tokens": 3, "reasoning_tokens": 1})],
    ),
    "streamed image": (f"{OPENAI}.image_gen_completed_event.Usage", STREAMED, STREAMED_READ),
    "streamed edit of an image": (f"{OPENAI}.image_edit_completed_event.Usage", STREAMED, STREAMED_READ),
    "realtime": (f"{OPENAI}.realtime.realtime_response_usage.RealtimeResponseUsage", REALTIME, REALTIME_READ),
    "beta realtime": (
        f"{OPENAI}.beta.realtime.realtime_response_usage.RealtimeResponseUsage",
        {
            **SUMS,
            "input_token_details": {"text_tokens": 60, "audio_tokens": 40, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 20, "audio_tokens": 30},
        },
        {"input_tokens": 60, "audio_input_tokens": 40, "output_tokens": 20, "audio_output_tokens": 30},
    ),
    **{
        f"transcription {number}": (f"{OPENAI}.{path}", TRANSCRIPT, TRANSCRIPT_READ)
        for number, path in enumerate(
            (
                "audio.transcription.UsageTokens",
                "audio.transcription_diarized.UsageTokens",
                "audio.transcription_text_done_event.Usage",
                "realtime.conversation_item_input_audio_transcription_completed_event.UsageTranscriptTextUsageTokens",
                "beta.realtime.conversation_item_input_audio_transcription_completed_event.UsageTranscriptTextUsageTokens",
            )
        )
    },
    "message": (f"{ANTHROPIC}.usage.Usage", MESSAGE, MESSAGE_READ, "batch"),
    "message's last event": (
        f"{ANTHROPIC}.message_delta_usage.MessageDeltaUsage",
        {key: MESSAGE[key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens")},
        {"input_tokens": 10, "cache_read_tokens": 60, "output_tokens": 50},
    ),
    "beta message's last event": (
        f"{ANTHROPIC}.beta.beta_message_delta_usage.BetaMessageDeltaUsage",
        {key: MESSAGE[key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens")},
        {"input_tokens": 10, "cache_read_tokens": 60, "output_tokens": 50},
    ),
    "beta message": (f"{ANTHROPIC}.beta.beta_usage.BetaUsage", MESSAGE, MESSAGE_READ, "batch"),
    "message of another model than was asked": (
        f"{ANTHROPIC}.beta.beta_message.BetaMessage",
        BETA_MESSAGE,
        MESSAGE_READ,
        "fast",
        [
            ("declined", "claude-fable-5", TURN_READ),
            ("advisor", "claude-opus-5", {"input_tokens": 7, "output_tokens": 8}),
        ],
    ),
    "agent's span": (
        f"{ANTHROPIC}.beta.sessions.beta_managed_agents_span_model_usage.BetaManagedAgentsSpanModelUsage",
        {
            "input_tokens": 10,
            "output_tokens": 50,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
            "speed": "fast",
        },
        {"input_tokens": 10, "output_tokens": 50, "cache_read_tokens": 60, "cache_write_5m_tokens": 30},
        "fast",
    ),
    "gemini": ("google.genai.types.GenerateContentResponseUsageMetadata", GEMINI, GEMINI_READ),
    "gemini's response": (
        "google.genai.types.GenerateContentResponse",
        {
            "usage_metadata": {**GEMINI, "traffic_type": "ON_DEMAND"},
            "sdk_http_response": {"headers": {"x-gemini-service-tier": "flex"}},
        },
        GEMINI_READ,
        "flex",
    ),
    "gemini live": ("google.genai.types.UsageMetadata", {**LIVE, "service_tier": "priority"}, GEMINI_READ, "priority"),
    "gemini's interaction": ("google.genai._gaos.types.interactions.usage.Usage", INTERACTION, INTERACTION_READ),
    "ollama's chat": (
        "ollama._types.ChatResponse",
        {**OLLAMA, "message": {"role": "assistant", "content": "4"}, "total_duration": 7},
        SUMS_READ,
    ),
    "ollama's answer": ("ollama._types.GenerateResponse", {**OLLAMA, "response": "4", "context": [1, 2]}, SUMS_READ),
    "ollama's embedding": (
        "ollama._types.EmbedResponse",
        {"model": "bge-m3", "embeddings": [[0.5]], "prompt_eval_count": 100},
        {"input_tokens": 100},
    ),
    "pydantic-ai": ("pydantic_ai.usage.RequestUsage", RUN, RUN_READ),
    "pydantic-ai's run": ("pydantic_ai.usage.RunUsage", {**RUN, "requests": 1, "tool_calls": 2}, RUN_READ),
    "litellm": ("litellm.types.utils.Usage", LITELLM, MESSAGE_READ),
}
# Sums of many requests, whose tiers and models they do not tell, and parts of the classes above.
OTHERS = [
    "organization",
    "evals",
    "batch_usage",
    "beta_dream_usage",
    "beta_managed_agents",
    "iteration_usage",
    "TokensDetails",
    "TokenDetails",
    "ImageGen",
    "SvgUsage",
]


@pytest.fixture(scope="module")
def sdks():
    task = {
        "cases": {name: case[:2] for name, case in CASES.items()},
        "packages": ["openai.types", "anthropic.types"],
    }
    result = subprocess.run(
        [ROOT / "scripts" / "sdks", ROOT / "tests" / "integration" / "sdk_usage.py"],
        input=json.dumps(task),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests" / "packages"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def told(buckets):
    return {name: count for name, count in buckets.items() if count}


@pytest.mark.parametrize("name", CASES)
def test_usage_of_an_sdk_is_read_right(sdks, name):
    _path, _values, buckets, *more = CASES[name]
    mode, further = (*more, *("standard", [])[len(more) :])
    read = sdks["cases"][name]["read"]
    assert isinstance(read, dict), read
    assert told(read["buckets"]) == told(buckets)
    assert read["billing_mode"] == mode
    assert [(each["kind"], each["model"], told(each["buckets"])) for each in read["further"]] == [
        (kind, model, told(used)) for kind, model, used in further
    ]


@pytest.mark.parametrize("name", CASES)
def test_no_count_of_an_sdk_is_passed_over(sdks, name):
    passed_over = sdks["cases"][name]["passed_over"]
    assert [path for path in passed_over if not path.endswith(EXPLAIN)] == []


def test_every_usage_that_an_sdk_has_is_among_the_cases(sdks):
    known = {path for path, *_rest in CASES.values()}
    found = {path for classes in sdks["classes"] for path in classes}
    assert sorted(path for path in found - known if not any(other in path for other in OTHERS)) == []
