"""What a call says, as Converse writes it, and what Converse has no form for.

Source: as bedrock.py. Messages of one role in a row are joined: roles must alternate.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count

import msgspec

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.providers.closed import closed
from harmost.core.providers.codec import Fit, UpstreamRequest
from harmost.core.providers.failures import UNREADABLE
from harmost.core.providers.marks import with_marks_that_fit
from harmost.core.providers.seals import is_base64

__all__ = ["body", "fit"]

_FORMATS: Mapping[str, Mapping[str, str]] = {
    "image": {
        "image/png": "png",
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    "audio": {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/mp4": "mp4",
        "audio/webm": "webm",
    },
    "file": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    },
}
_CALL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_TEMPERATURE_PERMILLE_MAX = 1000
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def fit(messages: Sequence[Message], generation: Generation) -> Fit:
    """What Converse has no form for.

    Media go inline or from S3, in the formats that it names. Calls and results are taken only
    together with tools. There is no seed, no effort `none` and no temperature above 1, nor a choice of
    `none` or one at a time; reasoning is taken back under its seal alone. Marks that do not fit are left
    out (marks.py).
    """
    parts = [part for message in messages for part in message.parts]
    lacks = [_lack(part) for part in parts if isinstance(part, Media)]
    if not generation.tools and _has_calls(messages):
        lacks.append("tool_call")
    drops = {
        "seed": generation.seed is not None,
        "temperature_permille": (generation.temperature_permille or 0) > _TEMPERATURE_PERMILLE_MAX,
        "reasoning_effort": generation.reasoning_effort == "none",
        "tool_choice": bool(generation.tools)
        and generation.tool_choice.mode == "none"
        and _has_calls(messages),
        "tool_choice.one_at_a_time": bool(generation.tools)
        and generation.tool_choice.mode != "none"
        and generation.tool_choice.one_at_a_time,
        "reasoning": any(map(_is_unsealed, parts)),
        "cache": with_marks_that_fit(messages, generation)[2],
    }
    return Fit(
        lacks=tuple(dict.fromkeys(filter(None, lacks))),
        drops=tuple(name for name, is_left_out in drops.items() if is_left_out),
    )


def body(request: UpstreamRequest) -> dict[str, object]:
    """The body of the request, before it is JSON."""
    messages, generation, _ = with_marks_that_fit(request.messages, request.generation)
    wire: dict[str, object] = {
        "messages": _messages(messages),
        "inferenceConfig": _inference_config(request.output_tokens_max, generation),
    }
    if system := [block for m in messages if m.role == "system" for block in _system(m)]:
        wire["system"] = system
    # Without tools none can be called, which is what the choice `none` means.
    if generation.tools and (generation.tool_choice.mode != "none" or _has_calls(messages)):
        wire["toolConfig"] = _tool_config(generation.tools, generation.tool_choice)
    if config := _output_config(generation):
        wire["outputConfig"] = config
        if "effort" in config and "anthropic.claude" in request.vendor_model_id:
            # Claude thinks only where it is told to; how much is the effort's.
            wire["additionalModelRequestFields"] = {"thinking": {"type": "adaptive"}}
    if request.service_tier != "standard":
        wire["serviceTier"] = {"type": request.service_tier}
    return wire


def _inference_config(output_tokens_max: int, generation: Generation) -> dict[str, object]:
    config: dict[str, object] = {"maxTokens": output_tokens_max}
    temperature_permille = generation.temperature_permille
    if temperature_permille is not None and temperature_permille <= _TEMPERATURE_PERMILLE_MAX:
        config["temperature"] = temperature_permille / 1000
    if generation.top_p_permille is not None:
        config["topP"] = generation.top_p_permille / 1000
    if generation.stop:
        config["stopSequences"] = generation.stop
    return config


def _output_config(generation: Generation) -> dict[str, object]:
    config: dict[str, object] = {}
    if generation.reasoning_effort not in ("", "none"):
        config["effort"] = generation.reasoning_effort
    if generation.output_schema_json:
        schema = {"name": "answer", "schema": closed(generation.output_schema_json)}
        config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    return config


def _tool_config(tools: Sequence[Tool], choice: ToolChoice) -> dict[str, object]:
    config: dict[str, object] = {
        "tools": [wire for tool in tools for wire in (_tool(tool), *_mark(tool))]
    }
    match choice.mode:
        case "required":
            config["toolChoice"] = {"any": {}}
        case "named":
            config["toolChoice"] = {"tool": {"name": choice.name}}
        case "auto" | "none":  # the latter is told to be left out
            config["toolChoice"] = {"auto": {}}
    return config


def _tool(tool: Tool) -> dict[str, object]:
    schema = msgspec.Raw(tool.parameters_schema_json.encode())
    wire: dict[str, object] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description:
        wire["description"] = tool.description
    return {"toolSpec": wire}


def _mark(marked: Part | Tool) -> Iterator[dict[str, object]]:
    """The block behind `marked` that ends what is to be cached; five minutes are what is usual."""
    if not isinstance(marked, Reasoning) and marked.cache:
        ttl = {"ttl": "1h"} if marked.cache == "1h" else {}
        yield {"cachePoint": {"type": "default", **ttl}}


def _system(message: Message) -> Iterator[dict[str, object]]:
    """The one text of `message`, or where there are marks, blocks that end at them."""
    written = ""
    for part in message.parts:
        if isinstance(part, Text):
            written += part.text
            if part.cache and written:
                yield {"text": written}
                yield from _mark(part)
                written = ""
    if written:
        yield {"text": written}


def _messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    """All but system messages; what tools answered is said by the user."""
    wire: list[dict[str, object]] = []
    blocks: list[dict[str, object]] = []
    role = ""
    document_numbers = count(1)
    for message in messages:
        if message.role == "system":
            continue
        said = list(_blocks(message.parts, document_numbers))
        speaker = "assistant" if message.role == "assistant" else "user"
        if speaker == role:
            blocks += said
        elif said:
            role, blocks = speaker, said
            wire.append({"role": role, "content": blocks})
    return wire


def _blocks(parts: Iterable[Part], document_numbers: Iterator[int]) -> Iterator[dict[str, object]]:
    for part in parts:
        match part:
            case Text(text):
                if not text:  # it would be refused
                    continue
                yield {"text": text}
            case Media():
                yield _media(part, document_numbers)
            case ToolCall(call_id, name, arguments_json):
                arguments = msgspec.Raw(arguments_json.encode() or b"{}")
                yield {
                    "toolUse": {"toolUseId": _call_id(call_id), "name": name, "input": arguments}
                }
            case ToolResult():
                yield {"toolResult": _tool_result(part)}
            case Reasoning() if _is_unsealed(part):
                pass
            case Reasoning(text, signature):
                seal = signature.decode("ascii")
                sealed = {"reasoningText": {"text": text, "signature": seal}}
                yield {"reasoningContent": sealed if text else {"redactedContent": seal}}
        yield from _mark(part)


def _tool_result(result: ToolResult) -> dict[str, object]:
    """An object is JSON; all else is text."""
    content: list[dict[str, object]] = [{"text": result.content}] if result.content else []
    if result.content.lstrip().startswith("{"):
        try:
            _object_decoder.decode(result.content)
        except UNREADABLE:
            pass
        else:
            content = [{"json": msgspec.Raw(result.content.encode())}]
    wire: dict[str, object] = {"toolUseId": _call_id(result.call_id), "content": content}
    if result.is_error:
        wire["status"] = "error"
    return wire


def _media(media: Media, document_numbers: Iterator[int]) -> dict[str, object]:
    source: dict[str, object] = {"bytes": b64encode(media.data).decode()}
    if media.uri:
        source = {"s3Location": {"uri": media.uri}}
    wire: dict[str, object] = {"format": _format(media), "source": source}
    if media.kind != "file":
        return {media.kind: wire}
    # A name is asked for, and must be another for each; the model reads it, so it says nothing.
    return {"document": {"name": f"document {next(document_numbers)}", **wire}}


def _format(media: Media) -> str:
    return _FORMATS[media.kind].get(media.media_type.partition(";")[0].strip().lower(), "")


def _lack(media: Media) -> str:
    if media.file_id:
        return f"{media.kind}.file_id"
    if media.uri and not media.uri.startswith("s3://"):
        return f"{media.kind}.uri"
    return "" if _format(media) else f"{media.kind}.media_type"


def _has_calls(messages: Sequence[Message]) -> bool:
    return any(
        isinstance(part, ToolCall | ToolResult) for message in messages for part in message.parts
    )


def _is_unsealed(part: Part) -> bool:
    """Reasoning without a seal that can be of this vendor."""
    return isinstance(part, Reasoning) and not is_base64(part.signature)


def _call_id(call_id: str) -> str:
    """The id in the letters that Converse takes: other vendors' have more of them, and longer ones.

    It only joins a result to its call: both get the same.
    """
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"call_{sha256(call_id.encode()).hexdigest()[:32]}"
