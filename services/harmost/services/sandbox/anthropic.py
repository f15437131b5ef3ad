"""Anthropic's messages as its official client believes them, in both API versions.

Source: docs.anthropic.com, API reference "Messages", "Streaming", "Versioning".
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from harmost.services.sandbox.shape import Answer, Ask, BadRequest

__all__ = ["AnthropicShape"]

_VERSIONS = ("2023-06-01", "2026-10-21")

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    content: str | list["_Block"] = ""  # of a tool's result


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]


class _Request(msgspec.Struct):
    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    system: str | list[_Block] = ""
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[_Tool] = []


_decoder = msgspec.json.Decoder(_Request)


class AnthropicShape:
    """`Shape` of `/anthropic/v1`."""

    def ask(self, body: bytes, headers: Mapping[str, str]) -> Ask:
        """Read a request. Raises BadRequest."""
        version = headers.get("anthropic-version", "")
        if version not in _VERSIONS:
            raise BadRequest(f"anthropic-version: `{version}` is not a valid version")
        try:
            request = _decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadRequest(f"invalid request: {error}") from None
        sampling = (request.temperature, request.top_p, request.top_k)
        if version != _VERSIONS[0] and sampling != (None, None, None):
            raise BadRequest(f"sampling parameters are not supported in version `{version}`")
        system = _text(request.system)
        texts = [_text(message.content) for message in request.messages]
        last_user = [
            text
            for text, message in zip(texts, request.messages, strict=True)
            if message.role == "user"
        ][-1:]
        return Ask(
            model=request.model,
            texts=[system, *texts],
            directives=[system, *last_user],
            output_tokens_max=request.max_tokens,
            stream=request.stream,
            usage_asked=True,
            tools=[tool.name for tool in request.tools],
        )

    def headers(self, attempt_id: str) -> dict[str, str]:
        """Headers that the vendor sends with every answer."""
        return {"request-id": attempt_id}

    def head(self, answer: Answer) -> bytes:
        """The message begins, its one block begins."""
        message: dict[str, Any] = {
            **_envelope(answer),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if answer.usage is not None:
            message["usage"] = _usage(answer.usage[0], 0)
        return (
            _event("message_start", message=message)
            + _event("content_block_start", index=0, content_block=_empty_block(answer))
            + _event("ping")
        )

    def frames(self, answer: Answer, pieces: Sequence[bytes]) -> list[bytes]:
        """One delta for each piece."""
        before = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        )
        before += (
            b'{"type":"input_json_delta","partial_json":"'
            if answer.tool
            else b'{"type":"text_delta","text":"'
        )
        return [before + piece + b'"}}\n\n' for piece in pieces]

    def tail(self, answer: Answer) -> bytes:
        """The block ends, the reason and the usage, the message ends."""
        delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        if answer.usage is None:
            end = _event("message_delta", delta=delta)
        else:
            end = _event("message_delta", delta=delta, usage=_usage(*answer.usage))
        return _event("content_block_stop", index=0) + end + _event("message_stop")

    def whole(self, answer: Answer, text: bytes) -> bytes:
        """The body of an answer that is not streamed."""
        body: dict[str, Any] = {
            **_envelope(answer),
            "content": [_block(answer, text)],
            "stop_reason": _stop_reason(answer),
            "stop_sequence": None,
        }
        if answer.usage is not None:
            body["usage"] = _usage(*answer.usage)
        return msgspec.json.encode(body)

    def error(self, *, status: int, message: str, attempt_id: str) -> bytes:
        """The body of an error."""
        return msgspec.json.encode(
            {
                "type": "error",
                "error": {"type": _TYPES.get(status, "api_error"), "message": message},
                "request_id": attempt_id,
            }
        )


def _text(content: str | list[_Block]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.text + _text(block.content) for block in content)


def _empty_block(answer: Answer) -> dict[str, Any]:
    return _block(answer, b"{}" if answer.tool else b"")


def _block(answer: Answer, text: bytes) -> dict[str, Any]:
    if not answer.tool:
        return {"type": "text", "text": text.decode()}
    call_id = f"toolu_{answer.attempt_id}"
    arguments: Any = {} if answer.cut else msgspec.json.decode(text)
    return {"type": "tool_use", "id": call_id, "name": answer.tool, "input": arguments}


def _stop_reason(answer: Answer) -> str:
    if answer.cut:
        return "max_tokens"
    return "tool_use" if answer.tool else "end_turn"


def _envelope(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.attempt_id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
    }


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _event(name: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": name, **fields})
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
