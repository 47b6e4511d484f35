"""Made-up transcripts and logs in the forms of the tools that an import reads."""

import json
import os
import time

SESSION = "0199a213-81c0-7800-8aa1-bbab2a035a53"
PARENT = "0199a213-0000-7800-8aa1-bbab2a035a53"


def claude_line(key="msg_1", output=50, stop="end_turn", *, second=0, usage=None, message=None, **told):
    """A line of Claude Code: a block of a message, with the usage of the message by then."""
    return {
        "parentUuid": None,
        "isSidechain": False,
        "cwd": "/srv/src/homelab",
        "sessionId": SESSION,
        "version": "2.1.94",
        "type": "assistant",
        "uuid": f"{key}-{output}",
        "requestId": f"req_{key}",
        "timestamp": f"2026-03-10T12:00:{second:02d}.123Z",
        "message": {
            "id": key,
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-4-5-20251101",
            "content": [{"type": "text", "text": f"block {output}"}],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 20,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
                "output_tokens": output,
                "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
                "service_tier": "standard",
                **(usage or {}),
            },
            **(message or {}),
        },
        **told,
    }


def claude_prompt(text="Which container restarts most often?"):
    return {
        "type": "user",
        "cwd": "/srv/src/homelab",
        "sessionId": SESSION,
        "uuid": "prompt",
        "timestamp": "2026-03-10T11:59:59.000Z",
        "message": {"role": "user", "content": text},
    }


def at(second):
    minutes, seconds = divmod(second, 60)
    return f"2026-03-10T12:{minutes:02d}:{seconds:06.3f}Z"


def codex_session(session=SESSION, second=0, **payload):
    told = {"id": session, "timestamp": at(second), "cwd": "/srv/src/homelab", "originator": "codex_cli_rs"}
    return {
        "timestamp": at(second),
        "type": "session_meta",
        "payload": {**told, "cli_version": "0.144.2", "source": "cli", "model_provider": "openai", **payload},
    }


def codex_turn(model="gpt-5.3-codex", second=0):
    return {
        "timestamp": at(second),
        "type": "turn_context",
        "payload": {"cwd": "/srv/src/homelab", "approval_policy": "never", "model": model},
    }


def codex_usage(told, cached=0, answered=0, reasoning=0):
    return {
        "input_tokens": told,
        "cached_input_tokens": cached,
        "output_tokens": answered,
        "reasoning_output_tokens": reasoning,
        "total_tokens": told + answered,
    }


def codex_total(total, last=None, second=1):
    """The running total after an answer; None: only limits are told."""
    info = total and {"total_token_usage": codex_usage(*total), "model_context_window": 272000}
    if last is not None:
        info["last_token_usage"] = codex_usage(*last)
    return {
        "timestamp": at(second),
        "type": "event_msg",
        "payload": {"type": "token_count", "info": info, "rate_limits": {}},
    }


def codex_record(answer, usage, thread=None, second=1):
    return {
        "timestamp": at(second),
        "type": "token_usage_record",
        "payload": {
            "thread_id": SESSION,
            "turn_id": "1",
            "response_id": answer,
            "usage": codex_usage(*usage),
            "thread_token_usage": codex_usage(*thread) if thread else None,
        },
    }


def spend_log(key="chatcmpl-1", *, usage=None, metadata=None, **told):
    """A row of LiteLLM's table LiteLLM_SpendLogs, as its API shows it."""
    row = {
        "request_id": key,
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.0,
        "total_tokens": 120,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "startTime": "2026-03-10T12:00:00.123000Z",
        "endTime": "2026-03-10T12:00:02.123000Z",
        "model": "gpt-5.4",
        "custom_llm_provider": "openai",
        "metadata": {"user_api_key_alias": "n8n", "usage_object": usage, **(metadata or {})},
        "cache_hit": "False",
        "messages": {},
        "response": {},
    }
    return {**row, **told}


def as_lines(entries, end="\n"):
    """JSON lines; what is bytes already stays as it is."""
    made = [each if isinstance(each, bytes) else json.dumps(each, separators=(",", ":")).encode() for each in entries]
    return b"\n".join(made) + end.encode() if made else b""


def write(file, entries, *, idle=True, end="\n"):
    """Write a transcript; `idle`: nobody has written to it for an hour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(as_lines(entries, end))
    if idle:
        rest(file)
    return file


def rest(file):
    """Let an hour pass for a file."""
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
