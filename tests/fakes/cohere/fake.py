"""Answers `POST /v2/chat` as Cohere does.

Source: cohere-ai/cohere-developer-experience, cohere-openapi.yaml (`/v2/chat`, `Usage`, `responses`),
fern/pages/cohere-api/errors.mdx for the words of errors, fern/pages/v2/tool-use/tool-use-streaming.mdx
and v2/text-generation/streaming.mdx for the order of events.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fakes.serve import Answer, Fake, Reply, Seen

__all__ = ["KEY", "UNOFFERED", "CohereFake"]

KEY = "co-fake-key"
# What the vendor has no form for, and where it says so.
UNOFFERED: Mapping[str, str] = {
    "reasoning_tokens": "cohere-openapi.yaml, `Usage`: thinking is not counted apart",
    "cache_write": "cohere-openapi.yaml, `Usage`: only `cached_tokens`, of reads",
}

_FIELDS = frozenset(
    {
        *("model", "messages", "tools", "strict_tools", "documents", "citation_options"),
        *("response_format", "safety_mode", "max_tokens", "stop_sequences", "temperature", "seed"),
        *("frequency_penalty", "presence_penalty", "k", "p", "logprobs", "tool_choice"),
        *("thinking", "priority", "stream"),
    }
)
_FINISH = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR",
}
_FAULTS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "invalid request: message must be at least 1 token long."),
    "unauthorized": (401, "invalid api token"),
    "not_found": (
        404,
        "model 'xyz' not found, make sure the correct model ID was used and that you have access to "
        "the model.",
    ),
    "throttled": (
        429,
        "You are past the per minute request limit, please wait and try again later.",
    ),
    "quota": (
        402,
        "Maximum billing reached for this API key as set in your dashboard, please go to "
        "https://dashboard.cohere.com/billing?tab=payment to increase your maximum amount to "
        "continue using this API key.",
    ),
    "server_error": (500, "internal server error"),
    "overloaded": (503, "service unavailable"),
    "timeout": (504, "gateway timeout"),
    "context_too_long": (
        400,
        "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs.",
    ),
    # `InvalidToken`: "a request or response contains a deny-listed token".
    "filtered": (498, "blocked by the deny list"),
}


class CohereFake(Fake):
    """Every request is checked before it is answered."""

    def reply(self, seen: Seen) -> Reply:
        """The answer whole, or streamed where `stream` asks for it."""
        if (seen.method, seen.path) != ("POST", "/v2/chat"):
            return _refused(404, "404 page not found")
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if token != KEY:
            return _refused(401, "invalid api token" if token else "no api key supplied")
        if self.fault in _FAULTS:
            status, message = _FAULTS[self.fault]
            wait = {"retry_after": str(self.retry_after_s)} if self.fault == "throttled" else {}
            return _refused(status, message, **wait)
        try:
            asked = seen.json
        except ValueError:
            return _refused(400, "invalid json syntax")
        if wrong := next(_wrong(asked), ""):
            return _refused(400, wrong)
        if not asked.get("stream"):
            return Reply.of(_whole(self.answer, asked))
        events = [
            f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            for event in _events(self.answer, asked)
        ]
        return Reply(200, {"content-type": "text/event-stream"}, (*events, b"data: [DONE]\n\n"))


def _refused(status: int, message: str, **headers: str) -> Reply:
    return Reply.of({"id": "e-1", "message": message}, status, **headers)


def _wrong(asked: Any) -> Iterator[str]:
    """What the vendor would say is wrong with the body `asked`."""
    for field in asked.keys() - _FIELDS:
        yield f"unknown field: parameter '{field}' is not a valid field"
    if not asked.get("model"):
        yield "a model parameter is required for this endpoint."
    yield from _wrong_messages(asked.get("messages"))
    yield from _wrong_tools(asked)
    if len(asked.get("stop_sequences", ())) > 5:
        yield "invalid request: stop_sequences can hold at most 5 strings."
    if not 0 <= asked.get("temperature", 0.3) <= 1:
        yield "invalid request: temperature must be between 0 and 1.0 inclusive."
    if not 0.01 <= asked.get("p", 0.75) <= 0.99:
        yield "invalid request: p must be between 0.01 and 0.99 inclusive."
    thinking = asked.get("thinking", {"type": "enabled"})
    if thinking.get("type") not in ("enabled", "disabled") or thinking.get("token_budget", 1) < 1:
        yield "invalid request: thinking is not valid."
    if asked.get("response_format", {"type": "text"})["type"] not in ("text", "json_object"):
        yield "invalid request: response_format.type must be one of 'text', 'json_object'."


def _wrong_messages(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield "invalid request: messages must not be empty."
        return
    calls: set[str] = set()
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant", "tool"):
            yield "invalid request: Invalid role."
        if not content and not message.get("tool_calls"):
            yield "message must not be empty in a turn"
        for part in content if isinstance(content, list) else ():
            allowed = {"assistant": ("text", "thinking"), "user": ("text", "image_url")}
            if part.get("type") not in allowed.get(role, ("text", "document")):
                yield f"invalid request: content of type '{part.get('type')}' is not allowed."
            if part["type"] == "image_url" and not part["image_url"].get("url"):
                yield "invalid request: image_url.url is required."
        for call in message.get("tool_calls", ()):
            if call.get("type") != "function":
                yield "tool call must be of type function"
            calls.add(call["id"])
        if role == "tool" and message.get("tool_call_id") not in calls:
            yield "tool call id not found in previous tool calls"


def _wrong_tools(asked: Any) -> Iterator[str]:
    for tool in asked.get("tools", ()):
        if tool.get("type") != "function" or not isinstance(tool["function"]["parameters"], dict):
            yield "invalid request: tools must be functions with parameters."
    if "tool_choice" in asked:
        if asked["tool_choice"] not in ("REQUIRED", "NONE"):
            yield "invalid request: tool_choice must be one of 'REQUIRED', 'NONE'."
        if not asked.get("tools"):
            yield "invalid request: tool_choice needs tools."
    if asked.get("tools") and "response_format" in asked:
        yield "invalid request: response_format is not supported with tools."


def _thinks(answer: Answer, asked: Any) -> bool:
    return bool(answer.reasoning) and asked.get("thinking", {}).get("type") != "disabled"


def _usage(answer: Answer) -> dict[str, object]:
    """Floats, as the API writes them; all tokens are more than are billed."""
    return {
        "billed_units": {
            "input_tokens": float(answer.input_tokens),
            "output_tokens": float(answer.output_tokens),
        },
        "tokens": {
            "input_tokens": float(answer.input_tokens + 496),
            "output_tokens": float(answer.output_tokens + 4),
        },
        "cached_tokens": float(answer.cached_tokens),
    }


def _call(call: Any, arguments: str) -> dict[str, object]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _whole(answer: Answer, asked: Any) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant"}
    content: list[dict[str, object]] = []
    if answer.calls:
        message["tool_plan"] = answer.reasoning
        message["tool_calls"] = [_call(call, call.arguments_json) for call in answer.calls]
    elif _thinks(answer, asked):
        content.append({"type": "thinking", "thinking": answer.reasoning})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    if content:
        message["content"] = content
    return {
        "id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "finish_reason": _FINISH[answer.finish],
        "message": message,
        "usage": _usage(answer),
    }


def _events(answer: Answer, asked: Any) -> Iterator[dict[str, object]]:
    yield {
        "id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "type": "message-start",
        "delta": {
            "message": {
                "role": "assistant",
                "content": [],
                "tool_plan": "",
                "tool_calls": [],
                "citations": [],
            }
        },
    }
    blocks = [("text", answer.text)] if answer.text else []
    if answer.calls:
        for piece in _pieces(answer.reasoning):
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
    elif _thinks(answer, asked):
        blocks.insert(0, ("thinking", answer.reasoning))
    for index, (kind, words) in enumerate(blocks):
        begin = {"type": kind, kind: ""}
        yield _content_event("content-start", index, begin)
        for piece in _pieces(words):
            yield _content_event("content-delta", index, {kind: piece})
        yield {"type": "content-end", "index": index}
    for index, call in enumerate(answer.calls):
        begun = {"message": {"tool_calls": _call(call, "")}}
        yield {"type": "tool-call-start", "index": index, "delta": begun}
        for piece in _pieces(call.arguments_json):
            said = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            yield {"type": "tool-call-delta", "index": index, "delta": said}
        yield {"type": "tool-call-end", "index": index}
    end = {"finish_reason": _FINISH[answer.finish], "usage": _usage(answer)}
    yield {"type": "message-end", "delta": end}


def _content_event(kind: str, index: int, content: object) -> dict[str, object]:
    return {"type": kind, "index": index, "delta": {"message": {"content": content}}}


def _pieces(words: str) -> list[str]:
    return [words[at : at + 7] for at in range(0, len(words), 7)]
