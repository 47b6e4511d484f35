"""A server on loopback that speaks the forms of four providers of language models: plain and streamed, with usage as they report it."""

import http.server
import itertools
import json
import threading
import urllib.parse
from dataclasses import dataclass
from typing import Any

REPLY = ("It is ", "plex.")
# As the providers report it, in parts that all differ: cached, written to the cache, reasoned.
OPENAI_CHAT = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
}
OPENAI_RESPONSES = {
    "input_tokens": 1507,
    "input_tokens_details": {"cached_tokens": 1024},
    "output_tokens": 211,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 1718,
}
OPENAI_EMBEDDINGS = {"prompt_tokens": 17, "total_tokens": 17}
ANTHROPIC = {
    "input_tokens": 21,
    "cache_read_input_tokens": 18000,
    "cache_creation_input_tokens": 700,
    "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 300,
    "service_tier": "standard",
}
GEMINI = {
    "promptTokenCount": 900,
    "cachedContentTokenCount": 600,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 40,
    "totalTokenCount": 990,
}
OLLAMA = {
    "total_duration": 900_000_000,
    "load_duration": 1_000_000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 300_000_000,
    "eval_count": 259,
    "eval_duration": 500_000_000,
}


@dataclass(frozen=True)
class Answered:
    """A call as the server answered it.

    Attributes:
        form: openai-chat, openai-responses, openai-embeddings, anthropic, gemini or ollama.
        id: what the answer calls itself; None where the form has no identifier.
        usage: as the answer has it.
    """

    form: str
    model: str
    id: str | None
    usage: dict[str, Any]
    streamed: bool


class ProviderServer:
    """Context manager around the server. What a test changes in `usage`, by form, the next answer reports.

    Attributes:
        answered: calls in their order.
        fails_with: status that every call gets instead of an answer, None: none.
    """

    def __init__(self):
        self.answered = []
        self.fails_with = None
        self.usage = {
            "openai-chat": OPENAI_CHAT,
            "openai-responses": OPENAI_RESPONSES,
            "openai-embeddings": OPENAI_EMBEDDINGS,
            "anthropic": ANTHROPIC,
            "gemini": GEMINI,
            "ollama": OLLAMA,
        }
        self._numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self):
        """By which the providers' SDKs find it."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "none",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_API_KEY": "none",
            "OLLAMA_HOST": self.url,
        }

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, exc_type, exc, traceback):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, body):
        """(kind of content, pieces of the body) of a call."""
        model = body.get("model") or path.rpartition("/")[2].partition(":")[0]
        for ending, (form, prefix, plain, stream) in _FORMS.items():
            if path.endswith(ending):
                # As long as true ones: short identifiers are not unique.
                name = prefix and f"{prefix}{next(self._numbers):024d}"
                by_default = form == "ollama"
                streamed = "stream" in path or body.get("stream", by_default)
                usage = self.usage[form]
                self.answered.append(Answered(form, model, name, usage, streamed))
                if not streamed:
                    return "application/json", [json.dumps(plain(name, model, usage, path))]
                if form == "ollama":
                    return "application/x-ndjson", [json.dumps(part) + "\n" for part in stream(model, usage, path)]
                return "text/event-stream", _events(stream(name, model, usage, body))
        return None


def _events(parts):
    for part in parts:
        named = f"event: {part['type']}\n" if isinstance(part, dict) and "type" in part else ""
        yield f"{named}data: {part if isinstance(part, str) else json.dumps(part)}\n\n"


def _chat(name, model, usage, _path):
    message = {"role": "assistant", "content": "".join(REPLY), "refusal": None}
    return {
        "id": name,
        "object": "chat.completion",
        "created": 1795000000,
        "model": model,
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
    }


def _chat_stream(name, model, usage, body):
    head = {"id": name, "object": "chat.completion.chunk", "created": 1795000000, "model": model}
    for text in REPLY:
        delta = {"role": "assistant", "content": text}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage}
    yield "[DONE]"


def _response(name, model, usage, _path, status="completed"):
    content = [{"type": "output_text", "text": "".join(REPLY), "annotations": []}]
    message = {"type": "message", "id": f"msg_{name}", "status": status, "role": "assistant", "content": content}
    return {
        "id": name,
        "object": "response",
        "created_at": 1795000000,
        "status": status,
        "model": model,
        "output": [message] if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "service_tier": "default",
        "usage": usage if status == "completed" else None,
    }


def _response_stream(name, model, usage, _body):
    numbers = itertools.count()
    begun = _response(name, model, usage, "", "in_progress")
    yield {"type": "response.created", "sequence_number": next(numbers), "response": begun}
    place = {"item_id": f"msg_{name}", "output_index": 0, "content_index": 0, "logprobs": []}
    for text in REPLY:
        yield {"type": "response.output_text.delta", "sequence_number": next(numbers), "delta": text, **place}
    done = _response(name, model, usage, "")
    yield {"type": "response.completed", "sequence_number": next(numbers), "response": done}


def _embeddings(_name, model, usage, _path):
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}
    return {"object": "list", "data": [vector], "model": model, "usage": usage}


def _message(name, model, usage, _path):
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "".join(REPLY)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


def _message_stream(name, model, usage, _body):
    # The start has the split of what was written to the cache, and one token of output; the last delta has all but the split.
    begun = {**_message(name, model, {**usage, "output_tokens": 1}, ""), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for text in REPLY:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    last = {key: value for key, value in usage.items() if key not in ("cache_creation", "service_tier")}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": last}
    yield {"type": "message_stop"}


def _content(name, model, usage, _path, text=None, ends=True):
    parts = [{"text": text or "".join(REPLY)}]
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    if ends:
        candidate["finishReason"] = "STOP"
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": name}


def _content_stream(name, model, usage, _body):
    # Each part says what was used so far.
    so_far = {"promptTokenCount": usage["promptTokenCount"], "totalTokenCount": usage["promptTokenCount"]}
    yield _content(name, model, so_far, "", REPLY[0], ends=False)
    yield _content(name, model, usage, "", REPLY[1])


def _ollama_part(model, path, text):
    said = {"message": {"role": "assistant", "content": text}} if path.endswith("/chat") else {"response": text}
    return {"model": model, "created_at": "2026-11-27T20:00:00.000000Z", **said}


def _ollama(_name, model, usage, path):
    return {**_ollama_part(model, path, "".join(REPLY)), "done": True, "done_reason": "stop", **usage}


def _ollama_stream(model, usage, path):
    for text in REPLY:
        yield {**_ollama_part(model, path, text), "done": False}
    yield {**_ollama_part(model, path, ""), "done": True, "done_reason": "stop", **usage}


_FORMS = {
    "/chat/completions": ("openai-chat", "chatcmpl-", _chat, _chat_stream),
    "/responses": ("openai-responses", "resp_", _response, _response_stream),
    "/embeddings": ("openai-embeddings", None, _embeddings, None),
    "/v1/messages": ("anthropic", "msg_", _message, _message_stream),
    ":generateContent": ("gemini", "gemini-", _content, None),
    ":streamGenerateContent": ("gemini", "gemini-", None, _content_stream),
    "/api/chat": ("ollama", None, _ollama, _ollama_stream),
    "/api/generate": ("ollama", None, _ollama, _ollama_stream),
}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that is killed is what some tests are about."""


def _handler(server):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # the name that http.server calls
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = server.answer(urllib.parse.urlsplit(self.path).path, body) if not server.fails_with else None
            if answer is None:
                self._send(server.fails_with or 404, "application/json", ['{"error": {"message": "No answer."}}'])
            else:
                self._send(200, *answer)

        def _send(self, status, kind, pieces):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                data = piece.encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments):
            pass

    return Handler
