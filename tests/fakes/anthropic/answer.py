"""What Anthropic answers: a message, whole or as the events of a stream."""

import json
from collections.abc import Iterator
from typing import Any

from fakes.anthropic.request import Disabled, Request, cache_marks
from fakes.serve import Answer

__all__ = ["SIGNATURE", "events", "message"]

# Opaque; of base64's letters as the vendor's are.
SIGNATURE = "EqQBCkYIBxgCKkDfake+seal/0123456789abcdef=="
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_REFUSED = {"type": "refusal", "category": "cyber", "explanation": None}


def message(answer: Answer, request: Request) -> dict[str, Any]:
    """The message that says `answer`."""
    content: list[dict[str, Any]] = []
    if answer.reasoning and not isinstance(request.thinking, Disabled):
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE})
    if answer.text:
        content.append({"type": "text", "text": answer.text, "citations": None})
    content += [
        {
            "type": "tool_use",
            "id": call.call_id,
            "name": call.name,
            "input": json.loads(call.arguments_json),
            "caller": {"type": "direct"},
        }
        for call in answer.calls
    ]
    return {
        "id": "msg_01FakeFakeFakeFakeFake01",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": _STOPS[answer.finish],
        "stop_sequence": None,
        "stop_details": _REFUSED if answer.finish == "content_filter" else None,
        "usage": _usage(answer, request),
    }


def _usage(answer: Answer, request: Request) -> dict[str, Any]:
    """As the vendor counts: cached input beside `input_tokens`, thinking within the output."""
    written, cached = answer.cache_write_tokens, answer.cached_tokens
    marks = cache_marks(request)
    hour = bool(marks) and marks[0][1].ttl == "1h"
    return {
        "input_tokens": answer.input_tokens - written - cached,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if hour else written,
            "ephemeral_1h_input_tokens": written if hour else 0,
        },
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
    }


def events(answer: Answer, request: Request) -> list[bytes]:
    """The same as a stream, an event each."""
    return [_event(data) for data in _events(message(answer, request))]


def _event(data: dict[str, Any]) -> bytes:
    written = json.dumps(data, ensure_ascii=False)
    return f"event: {data['type']}\ndata: {written}\n\n".encode()


def _events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = whole["usage"]
    begun = {
        **whole,
        "content": [],
        "stop_reason": None,
        "stop_details": None,
        "usage": {**usage, "output_tokens": 1, "output_tokens_details": None},
    }
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(whole["content"]):
        started, deltas = _block(block)
        yield {"type": "content_block_start", "index": index, "content_block": started}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    kept = {
        name: usage[name]
        for name in (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
            "output_tokens_details",
            "server_tool_use",
        )
    }
    said = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": said, "usage": kept}
    yield {"type": "message_stop"}


def _block(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How the block begins, and the pieces in which the rest comes."""
    match block["type"]:
        case "thinking":
            deltas = [
                *_pieces("thinking_delta", "thinking", block["thinking"]),
                {"type": "signature_delta", "signature": block["signature"]},
            ]
            return {**block, "thinking": "", "signature": ""}, deltas
        case "text":
            return {**block, "text": ""}, _pieces("text_delta", "text", block["text"])
        case _:
            if not block["input"]:  # then there is but the empty piece
                return block, _pieces("input_json_delta", "partial_json", "")
            arguments = json.dumps(block["input"], ensure_ascii=False)
            pieces = _pieces("input_json_delta", "partial_json", arguments)
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": ""},
                *pieces,
            ]


def _pieces(kind: str, field: str, text: str) -> list[dict[str, Any]]:
    return [{"type": kind, field: text[at : at + 9]} for at in range(0, max(1, len(text)), 9)]
