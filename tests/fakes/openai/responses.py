"""Responses as OpenAI answers them, whole and streamed.

Source: openai/openai-openapi, `Response` and `ResponseStreamEvent`.
"""

from collections.abc import Iterator
from typing import Any

from fakes.openai.chat import CREATED, pieces
from fakes.openai.refusals import Refusal
from fakes.openai.responses_requests import Responses, seal
from fakes.serve import Answer, Call

__all__ = ["events", "failed", "response"]

ID = "resp_68be1138d72081a1"
REASONING = "rs_68be1138d72081a2"
MESSAGE = "msg_68be1138d72081a3"

Event = dict[str, Any]


def response(request: Responses, answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = incomplete.get(answer.finish)
    output = [item for _, item in _items(request, answer)]
    return {
        **_shell(request, "completed" if reason is None else "incomplete"),
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": _usage(answer),
    }


def events(request: Responses, answer: Answer) -> list[Event]:
    """The answer as the events of a stream; each says its name as `type`."""
    whole = response(request, answer)
    told = [*_begun(request)]
    for index, (pieces_of, item) in enumerate(_items(request, answer)):
        where = {"output_index": index}
        told.append({"type": "response.output_item.added", **where, "item": _empty(item)})
        told += [{**event, "item_id": item["id"], **where} for event in pieces_of]
        told.append({"type": "response.output_item.done", **where, "item": item})
    told.append({"type": f"response.{whole['status']}", "response": whole})
    return _numbered(told)


def failed(request: Responses, refusal: Refusal) -> list[Event]:
    """A stream in which the model fails: what is wrong comes twice."""
    error = {"code": refusal.code or "server_error", "message": refusal.message}
    nested = {"type": refusal.type, **error, "param": refusal.param}
    shell = {**_shell(request, "failed"), "error": error}
    return _numbered(
        [
            *_begun(request),
            {"type": "error", "error": nested},
            {"type": "response.failed", "response": shell},
        ]
    )


def _begun(request: Responses) -> Iterator[Event]:
    for name in ("created", "in_progress"):
        yield {"type": f"response.{name}", "response": _shell(request, "in_progress")}


def _numbered(told: list[Event]) -> list[Event]:
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]


def _items(request: Responses, answer: Answer) -> Iterator[tuple[list[Event], dict[str, Any]]]:
    """Each item of the answer, and the events that say it piece by piece."""
    if answer.reasoning or answer.reasoning_tokens:
        shows = request.reasoning is not None and request.reasoning.summary is not None
        summary = answer.reasoning if shows else ""
        item: dict[str, Any] = {
            "id": REASONING,
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": summary}] if summary else [],
        }
        if request.sealed:
            item["encrypted_content"] = seal(REASONING)
        yield _summary_events(summary), item
    if answer.text or not answer.calls:
        cut = answer.finish in ("length", "content_filter")
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        yield (
            _text_events(part),
            {
                "id": MESSAGE,
                "type": "message",
                "status": "incomplete" if cut else "completed",
                "role": "assistant",
                "content": [part],
            },
        )
    for number, call in enumerate(answer.calls):
        yield (
            _call_events(call),
            {
                "id": f"fc_{number}",
                "type": "function_call",
                "status": "completed",
                "arguments": call.arguments_json,
                "call_id": call.call_id,
                "name": call.name,
            },
        )


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is added, before its pieces."""
    blank = {"summary": [], "content": [], "arguments": "", "status": "in_progress"}
    return {**item, **{name: value for name, value in blank.items() if name in item}}


def _summary_events(summary: str) -> list[Event]:
    if not summary:
        return []
    name = "response.reasoning_summary"
    at = {"summary_index": 0}
    return [
        {"type": f"{name}_part.added", **at, "part": {"type": "summary_text", "text": ""}},
        *({"type": f"{name}_text.delta", **at, "delta": piece} for piece in pieces(summary)),
        {"type": f"{name}_text.done", **at, "text": summary},
        {"type": f"{name}_part.done", **at, "part": {"type": "summary_text", "text": summary}},
    ]


def _text_events(part: dict[str, Any]) -> list[Event]:
    at = {"content_index": 0}
    said = {**at, "logprobs": []}
    return [
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **said, "delta": piece, "obfuscation": "kQ9x"}
            for piece in pieces(part["text"])
        ),
        {"type": "response.output_text.done", **said, "text": part["text"]},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _call_events(call: Call) -> list[Event]:
    name = "response.function_call_arguments"
    return [
        *({"type": f"{name}.delta", "delta": piece} for piece in pieces(call.arguments_json)),
        {"type": f"{name}.done", "arguments": call.arguments_json, "name": call.name},
    ]


def _shell(request: Responses, status: str) -> dict[str, Any]:
    """A response that has said nothing yet."""
    effort, text = request.reasoning, request.text
    form = text.format if text is not None else None
    schema = (
        {
            "type": "json_schema",
            "name": form.name,
            "schema": form.schema,
            "strict": bool(form.strict),
        }
        if form is not None and form.type == "json_schema"
        else {"type": "text"}
    )
    choice = request.tool_choice
    return {
        "id": ID,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {
            "effort": effort.effort if effort is not None else None,
            "summary": effort.summary if effort is not None else None,
        },
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": schema, "verbosity": "medium"},
        "tool_choice": (choice or "auto")
        if choice is None or isinstance(choice, str)
        else {"type": "function", "name": choice.name},
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": tool.strict,
            }
            for tool in request.tools or ()
        ],
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }


def _usage(answer: Answer) -> dict[str, Any]:
    """Cached input and reasoning are parts of the totals."""
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": answer.cache_write_tokens,
        },
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
