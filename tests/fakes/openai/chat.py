"""chat.completions as OpenAI answers it, whole and streamed.

Source: openai/openai-openapi, `CreateChatCompletionResponse` and `CreateChatCompletionStreamResponse`.
"""

from collections.abc import Iterator
from typing import Any

from fakes.openai.requests import Chat
from fakes.serve import Answer

__all__ = ["chunks", "completion", "pieces"]

ID = "chatcmpl-C4kQm2vXr8sT1uWy"
CREATED = 1_795_600_000


def pieces(text: str) -> Iterator[str]:
    """`text` as it is generated, a few characters at a time."""
    for at in range(0, len(text), 5):
        yield text[at : at + 5]


def completion(request: Chat, answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for call in answer.calls
        ]
    return {
        "id": ID,
        "object": "chat.completion",
        "created": CREATED,
        "model": request.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        ],
        "usage": usage(answer),
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


def chunks(request: Chat, answer: Answer) -> list[dict[str, Any]]:
    """The answer as the events of a stream, without the last one, `[DONE]`."""
    options = request.stream_options
    with_usage = options is not None and options.include_usage
    said = [_choice(delta) for delta in _deltas(answer)]
    said.append(_choice({}, finish=answer.finish))
    told = [_chunk(request, [choice]) for choice in said]
    for at, chunk in enumerate(told):
        if with_usage:
            chunk["usage"] = None
        if options is None or options.include_obfuscation:
            chunk["obfuscation"] = "aZ3kQ9"[: at % 7]
    if with_usage:
        told.append({**_chunk(request, []), "usage": usage(answer)})
    return told


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if answer.calls else "", "refusal": None}
    for piece in pieces(answer.text):
        yield {"content": piece}
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        begun = {"index": index, "id": call.call_id, "type": "function", "function": function}
        yield {"tool_calls": [begun]}
        for piece in pieces(call.arguments_json):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _choice(delta: dict[str, Any], *, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _chunk(request: Chat, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": choices,
    }


def usage(answer: Answer) -> dict[str, Any]:
    """Cached input and reasoning are parts of the totals."""
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": answer.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
