"""An answer as Converse and ConverseStream write it, held against the service's own description."""

import json
from collections.abc import Iterator
from typing import Any

from aws_stream import event
from bedrock_shapes import problems_of_event, problems_of_response

from fakes.serve import Answer

__all__ = ["SEAL", "completion", "events"]

SEAL = "c2VhbA=="
STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
LATENCY = {"latencyMs": 42}


def completion(answer: Answer) -> dict[str, Any]:
    """The body of Converse."""
    body = {
        "output": {"message": {"role": "assistant", "content": list(_content(answer))}},
        "stopReason": STOP_REASONS[answer.finish],
        "usage": _usage(answer),
        "metrics": LATENCY,
    }
    assert problems_of_response("Converse", body) == []
    return body


def events(answer: Answer) -> Iterator[bytes]:
    """The messages of ConverseStream, each padded as the service does against those who listen."""
    for name, payload in _events(answer):
        assert problems_of_event(name, payload) == []
        yield event(name, {**payload, "p": "abcdefghijklmnopqrstuvwxyz"[: 3 + len(name) % 20]})


def _usage(answer: Answer) -> dict[str, Any]:
    fresh = answer.input_tokens - answer.cached_tokens - answer.cache_write_tokens
    return {
        "inputTokens": fresh,
        "outputTokens": answer.output_tokens,
        "totalTokens": answer.input_tokens + answer.output_tokens,
        "cacheReadInputTokens": answer.cached_tokens,
        "cacheWriteInputTokens": answer.cache_write_tokens,
        "cacheDetails": [{"ttl": "5m", "inputTokens": answer.cache_write_tokens}],
    }


def _content(answer: Answer) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        said = {"text": answer.reasoning, "signature": SEAL}
        yield {"reasoningContent": {"reasoningText": said}}
    if answer.text:
        yield {"text": answer.text}
    for call in answer.calls:
        said = {"toolUseId": call.call_id, "name": call.name}
        yield {"toolUse": {**said, "input": json.loads(call.arguments_json)}}


def _events(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(_content(answer)):
        where = {"contentBlockIndex": index}
        if "toolUse" in block:
            call = answer.calls[index - bool(answer.reasoning) - bool(answer.text)]
            start = {"toolUseId": call.call_id, "name": call.name}
            yield "contentBlockStart", {"start": {"toolUse": start}, **where}
        for delta in _deltas(block):
            yield "contentBlockDelta", {"delta": delta, **where}
        yield "contentBlockStop", where
    yield "messageStop", {"stopReason": STOP_REASONS[answer.finish]}
    yield "metadata", {"usage": _usage(answer), "metrics": LATENCY}


def _deltas(block: Any) -> Iterator[dict[str, Any]]:
    """A block in pieces; what a tool without arguments is asked with comes not at all."""
    if "text" in block:
        yield from ({"text": piece} for piece in _pieces(block["text"]))
    elif "toolUse" in block and block["toolUse"]["input"]:
        written = json.dumps(block["toolUse"]["input"], ensure_ascii=False)
        yield from ({"toolUse": {"input": piece}} for piece in _pieces(written))
    elif "reasoningContent" in block:
        said = block["reasoningContent"]["reasoningText"]
        yield from ({"reasoningContent": {"text": piece}} for piece in _pieces(said["text"]))
        yield {"reasoningContent": {"signature": said["signature"]}}


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + 7] for at in range(0, len(text), 7))
