"""OpenAI's chat.completions as its official client believes them.

Source: openai/openai-openapi, `CreateChatCompletionResponse` and its stream.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from harmost.services.sandbox.shape import Answer, Ask, BadRequest

__all__ = ["OpenAiShape"]

# What a provider writes when nobody says how much.
_OUTPUT_TOKENS_DEFAULT = 4_096

_CODES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    409: ("invalid_request_error", "conflict"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "overloaded"),
}

_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _Function(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    function: _Function
    type: Literal["function"]


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct):
    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: _Count | None = None
    max_tokens: _Count | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    seed: int | None = None
    n: int | None = None
    tools: list[_Tool] = []


_decoder = msgspec.json.Decoder(_Request)


class OpenAiShape:
    """`Shape` of `/openai/v1`."""

    def ask(self, body: bytes, headers: Mapping[str, str]) -> Ask:
        """Read a request. Raises BadRequest."""
        try:
            request = _decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadRequest(f"invalid request: {error}") from None
        if request.n not in (None, 1):
            raise BadRequest("the sandbox gives one choice: leave out `n`")
        texts = [_text(message) for message in request.messages]
        roles = [message.role for message in request.messages]
        directives = [
            text for text, role in zip(texts, roles, strict=True) if role in ("system", "developer")
        ]
        if "user" in roles:
            directives.append(texts[len(roles) - 1 - roles[::-1].index("user")])
        options = request.stream_options or _StreamOptions()
        return Ask(
            model=request.model,
            texts=texts,
            directives=directives,
            output_tokens_max=request.max_completion_tokens
            or request.max_tokens
            or _OUTPUT_TOKENS_DEFAULT,
            stream=bool(request.stream),
            usage_asked=options.include_usage,
            seed=request.seed or 0,
            tools=[tool.function.name for tool in request.tools],
        )

    def headers(self, attempt_id: str) -> dict[str, str]:
        """Headers that the vendor sends with every answer."""
        return {"x-request-id": attempt_id, "openai-version": "2020-10-01"}

    def head(self, answer: Answer) -> bytes:
        """The chunk that names the role, and the tool if one is asked for."""
        before, after = _around(answer)
        if answer.tool:
            calls = msgspec.json.encode([{"index": 0, **_call(answer, "")}])
            delta = b'{"role":"assistant","content":null,"tool_calls":' + calls + b"}"
            return before + delta + after
        return before + b'{"role":"assistant","content":"","refusal":null}' + after

    def frames(self, answer: Answer, pieces: Sequence[bytes]) -> list[bytes]:
        """One chunk for each piece."""
        before, after = _around(answer)
        if answer.tool:
            before += b'{"tool_calls":[{"index":0,"function":{"arguments":"'
            after = b'"}}]}' + after
        else:
            before += b'{"content":"'
            after = b'"}' + after
        return [before + piece + after for piece in pieces]

    def tail(self, answer: Answer) -> bytes:
        """The finish reason, the usage, the end."""
        before, after = _around(answer)
        finish = b'"' + _finish(answer).encode() + b'"'
        events = before + b"{}" + after.replace(b"null", finish, 1)
        if answer.usage is not None:
            events += _data(
                {
                    **_envelope(answer, "chat.completion.chunk"),
                    "choices": [],
                    "usage": _usage(answer),
                }
            )
        return events + b"data: [DONE]\n\n"

    def whole(self, answer: Answer, text: bytes) -> bytes:
        """The body of an answer that is not streamed."""
        body: dict[str, Any] = {
            **_envelope(answer, "chat.completion"),
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        **_content(answer, text.decode()),
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": _finish(answer),
                }
            ],
        }
        if answer.usage is not None:
            body["usage"] = _usage(answer)
        return msgspec.json.encode(body)

    def error(self, *, status: int, message: str, attempt_id: str) -> bytes:
        """The body of an error."""
        type_, code = _CODES.get(status, ("server_error", None))
        return msgspec.json.encode(
            {"error": {"message": message, "type": type_, "param": None, "code": code}}
        )


def _text(message: _Message) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""


def _finish(answer: Answer) -> str:
    if answer.cut:
        return "length"
    return "tool_calls" if answer.tool else "stop"


def _content(answer: Answer, text: str) -> dict[str, Any]:
    if not answer.tool:
        return {"content": text}
    return {"content": None, "tool_calls": [_call(answer, text)]}


def _call(answer: Answer, arguments: str) -> dict[str, Any]:
    function = {"name": answer.tool, "arguments": arguments}
    return {"id": f"call_{answer.attempt_id}", "type": "function", "function": function}


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.attempt_id}",
        "object": kind,
        "created": answer.created_s,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_sandbox",
    }


def _usage(answer: Answer) -> dict[str, Any]:
    assert answer.usage is not None
    prompt, completion = answer.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _around(answer: Answer) -> tuple[bytes, bytes]:
    """What stands before and after the `delta` of every chunk of one answer."""
    envelope = msgspec.json.encode(_envelope(answer, "chat.completion.chunk"))
    before = b"data: " + envelope[:-1] + b',"choices":[{"index":0,"delta":'
    after = b',"finish_reason":null,"logprobs":null}]'
    return before, after + (b"}\n\n" if answer.usage is None else b',"usage":null}\n\n')


def _data(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
