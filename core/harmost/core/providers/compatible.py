"""Servers that speak OpenAI's chat.completions with differences, which `quirks` of a `Provider` say.

Their answers are read as OpenAI's are: what they add to them, one reader knows of all.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from string import ascii_lowercase, digits
from typing import Any

import msgspec

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.providers.codec import Fit, HttpRequest, ProviderError, UpstreamRequest
from harmost.core.providers.failures import UNREADABLE, retry_after_s, stated
from harmost.core.providers.openai import OpenAiCodec
from harmost.core.resources.quirks import Quirks

__all__ = ["CompatibleCodec"]

_ID_CHARS = digits + ascii_lowercase
_ID_SIZE = 9
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class CompatibleCodec(OpenAiCodec):
    """`OpenAiCodec` for a server with `quirks`."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """What OpenAI's format cannot say, and what this server does not take of it."""
        quirks, fit = self._quirks, super().fit(messages, generation)
        parts = [part for message in messages for part in message.parts]
        lacks, drops = list(fit.lacks), list(fit.drops)
        if not quirks.image_urls and any(isinstance(p, Media) and p.uri for p in parts):
            lacks.append("image.uri")
        if generation.output_schema_json and not quirks.schema:
            lacks.append("output_schema_json")
        if len(generation.stop) > quirks.stop_max:
            lacks.append(f"stop of more than {quirks.stop_max}")
        if quirks.reasoning_back and "reasoning" in drops and not any(map(_is_hidden, parts)):
            drops.remove("reasoning")
        if generation.tools and not self._chooses(generation.tool_choice):
            lacks.append(f"tool_choice.{generation.tool_choice.mode}")
        return Fit(lacks=tuple(lacks), drops=(*drops, *self._wishes(generation)))

    def _chooses(self, choice: ToolChoice) -> bool:
        return choice.mode in ("auto", "none") or bool(
            {choice.mode, "required"} & set(self._quirks.tool_choice)
        )

    def _wishes(self, generation: Generation) -> list[str]:
        quirks = self._quirks
        drops: list[str] = []
        if generation.seed is not None and not quirks.seed:
            drops.append("seed")
        if (generation.temperature_permille or 0) > quirks.temperature_permille_max:
            drops.append("temperature_permille")
        one_at_a_time = generation.tools and generation.tool_choice.one_at_a_time
        if one_at_a_time and not quirks.parallel_tool_calls:
            drops.append("tool_choice.one_at_a_time")
        if generation.reasoning_effort and not quirks.reasoning_effort:
            drops.append("reasoning_effort")
        if generation.reasoning_effort in ("low", "medium") and quirks.reasoning_effort in (
            "thinking",
            "template",
        ):
            drops.append("the degree of reasoning_effort")
        return drops

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`, as this server takes it."""
        quirks = self._quirks
        generation = self._taken(request.generation)
        messages = request.messages
        if quirks.tool_call_ids == "nine":
            messages = [_with_short_ids(message) for message in messages]
        body = self.body(msgspec.structs.replace(request, messages=messages, generation=generation))
        if quirks.output_tokens != "max_completion_tokens":
            body[quirks.output_tokens] = body.pop("max_completion_tokens")
        if not quirks.stream_options:
            del body["stream_options"]
        if generation.seed is not None and quirks.seed:
            body[quirks.seed] = body.pop("seed")
        if "none" not in quirks.tool_choice and generation.tool_choice.mode != "required":
            body.pop("tool_choice", None)  # "auto" is what it does anyway
        if effort := body.pop("reasoning_effort", None):
            body.update(_effort(quirks, str(effort)))
        if quirks.reasoning_back:
            body["messages"] = _with_reasoning(quirks.reasoning_back, body["messages"], messages)
        return self.http(body)

    def _taken(self, generation: Generation) -> Generation:
        """What of it this server takes, said with what it heeds."""
        quirks, choice, tools = self._quirks, generation.tool_choice, generation.tools
        if choice.mode == "named" and "named" not in quirks.tool_choice:
            tools = tuple(tool for tool in tools if tool.name == choice.name)
            choice = msgspec.structs.replace(choice, mode="required", name="")
        if choice.mode == "none" and "none" not in quirks.tool_choice:
            tools = ()  # it calls none that it does not know
        if not quirks.parallel_tool_calls:
            choice = msgspec.structs.replace(choice, one_at_a_time=False)
        temperature_permille = generation.temperature_permille
        if (temperature_permille or 0) > quirks.temperature_permille_max:
            temperature_permille = None
        return msgspec.structs.replace(
            generation,
            tools=tools,
            tool_choice=choice,
            temperature_permille=temperature_permille,
            seed=generation.seed if quirks.seed else None,
        )

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """As OpenAI's, or said without an `error` around it, or with the words as `error`."""
        try:
            said = _decoder.decode(body)
        except UNREADABLE:
            said = None
        if not isinstance(said, dict) or isinstance(said.get("error"), dict):  # pyright: ignore[reportUnknownMemberType]
            return super().error(status=status, headers=headers, body=body)
        fields: dict[str, Any] = said  # pyright: ignore[reportUnknownVariableType]
        words = fields.get("error") or fields.get("message") or fields.get("detail")
        if words is not None and not isinstance(words, str):
            words = msgspec.json.encode(words).decode()
        error = {"message": words, "type": fields.get("type"), "code": fields.get("code")}
        return stated(error, kinds={}, status=status, retry_after_s=retry_after_s(headers))


def _is_hidden(part: Part) -> bool:
    return isinstance(part, Reasoning) and not part.text


def _effort(quirks: Quirks, effort: str) -> dict[str, object]:
    match quirks.reasoning_effort:
        case "effort":
            return {"reasoning_effort": effort}
        case "object":
            return {"reasoning": {"effort": effort}}
        case "thinking":
            return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}
        case "template":
            return {"chat_template_kwargs": {"enable_thinking": effort != "none"}}
        case "":
            return {}


def _with_reasoning(field: str, wire: Any, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The assistant's messages of `wire`, which are one for each, with what they showed."""
    said = iter(message for message in messages if message.role == "assistant")
    told: list[dict[str, Any]] = []
    for each in wire:
        if each["role"] == "assistant":
            parts = next(said).parts
            shown = "".join(part.text for part in parts if isinstance(part, Reasoning))
            each = {**each, field: shown} if shown else each
        told.append(each)
    return told


def _with_short_ids(message: Message) -> Message:
    return Message(message.role, tuple(map(_with_short_id, message.parts)))


def _with_short_id(part: Part) -> Part:
    if isinstance(part, ToolCall | ToolResult):
        return msgspec.structs.replace(part, call_id=_short_id(part.call_id))
    return part


def _short_id(call_id: str) -> str:
    """Nine letters and digits, always the same for one id; those that are, stay."""
    if len(call_id) == _ID_SIZE and call_id.isascii() and call_id.isalnum():
        return call_id
    number = int.from_bytes(blake2b(call_id.encode(), digest_size=8).digest(), "big")
    chars: list[str] = []
    for _ in range(_ID_SIZE):
        number, digit = divmod(number, len(_ID_CHARS))
        chars.append(_ID_CHARS[digit])
    return "".join(chars)
