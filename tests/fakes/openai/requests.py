"""What OpenAI takes in chat.completions, as far as the fake answers it; anything else is refused.

Source: openai/openai-openapi, `CreateChatCompletionRequest`. The words of refusals are the vendor's.
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "Chat",
    "Effort",
    "Refused",
    "Strict",
    "check_image",
    "check_name",
    "read",
]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a decimal",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


class Refused(Exception):
    """A request is refused: the vendor's words, the parameter and the code."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An object of which every field is known."""


class _TextPart(Strict, tag_field="type", tag="text"):
    text: str


class _ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _ImagePart(Strict, tag_field="type", tag="image_url"):
    image_url: _ImageUrl


class _InputAudio(Strict):
    data: str
    format: Literal["wav", "mp3"]


class _AudioPart(Strict, tag_field="type", tag="input_audio"):
    input_audio: _InputAudio


class _File(Strict):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class _FilePart(Strict, tag_field="type", tag="file"):
    file: _File


class _CalledFunction(Strict):
    name: str
    arguments: str


class _ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: _CalledFunction


class _System(Strict, tag_field="role", tag="system"):
    content: str | list[_TextPart]


class _Developer(Strict, tag_field="role", tag="developer"):
    content: str | list[_TextPart]


class _User(Strict, tag_field="role", tag="user"):
    content: str | list[_TextPart | _ImagePart | _AudioPart | _FilePart]


class _Assistant(Strict, tag_field="role", tag="assistant"):
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    annotations: list[Any] = []  # of an answer that is handed back
    tool_calls: Annotated[list[_ToolCall], msgspec.Meta(min_length=1)] | None = None


class _ToolMessage(Strict, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[_TextPart]


class _Function(Strict):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class _Tool(Strict):
    type: Literal["function"]
    function: _Function


class _NamedFunction(Strict):
    name: str


class _NamedTool(Strict):
    type: Literal["function"]
    function: _NamedFunction


class _Schema(Strict):
    name: str
    description: str = ""
    schema: dict[str, Any] = {}
    strict: bool | None = None


class _ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = True


class Chat(Strict):
    """`POST /chat/completions`."""

    model: str
    messages: Annotated[
        list[_System | _Developer | _User | _Assistant | _ToolMessage], msgspec.Meta(min_length=1)
    ]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    seed: int | None = None
    reasoning_effort: Effort | None = None
    response_format: _ResponseFormat | None = None
    tools: Annotated[list[_Tool], msgspec.Meta(min_length=1)] | None = None
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None

    def check(self) -> None:
        """What types do not say. Refused."""
        if self.stream_options is not None and not self.stream:
            raise Refused(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                "stream_options",
                None,
            )
        if self.tools is None and self.tool_choice is not None:
            raise Refused("'tool_choice' is only allowed when 'tools' are specified.", None, None)
        for at, tool in enumerate(self.tools or ()):
            check_name(tool.function.name, f"tools[{at}].function.name")
        if self.response_format is not None and self.response_format.json_schema is not None:
            check_name(self.response_format.json_schema.name, "response_format.json_schema.name")
        _check_calls(self.messages)
        for at, message in enumerate(self.messages):
            for part in message.content if isinstance(message, _User) else ():
                if isinstance(part, _ImagePart):
                    check_image(part.image_url.url, f"messages[{at}]")


def _check_calls(messages: Sequence[Any]) -> None:
    """Every call is answered at once, and nothing else is."""
    asked: set[str] = set()
    for at, message in enumerate(messages):
        if isinstance(message, _ToolMessage):
            if message.tool_call_id not in asked:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with 'tool_calls'.",
                    f"messages.[{at}].role",
                    None,
                )
            asked.remove(message.tool_call_id)
            continue
        if asked:
            break
        if isinstance(message, _Assistant):
            asked = {call.id for call in message.tool_calls or ()}
    if asked:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to "
            "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(sorted(asked)),
            "messages",
            None,
        )


def check_image(url: str, where: str) -> None:
    """A picture is an address, or data of a kind that the models see. Refused."""
    if url.startswith(("https://", "http://")):
        return
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    try:
        known = media_type in _IMAGES and bool(b64decode(data, validate=True))
    except ValueError:
        known = False
    if not known:
        raise Refused(
            "You uploaded an unsupported image. Please make sure your image has of one the following "
            "formats: ['png', 'jpeg', 'gif', 'webp'].",
            where,
            "invalid_image_format",
        )


def check_name(name: str, where: str) -> None:
    """A tool's or a schema's name is a name. Refused."""
    if _NAME.fullmatch(name) is None:
        raise Refused(
            f"Invalid '{where}': string does not match pattern. Expected a string that matches the "
            "pattern '^[a-zA-Z0-9_-]+$'.",
            where,
            "invalid_value",
        )


def read(body: bytes, kind: type[Any]) -> Any:
    """The body as a `kind`. Refused."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (msgspec.DecodeError, ValueError):
        raise Refused(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
            "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
            "sent was not valid JSON.)",
            None,
            None,
        ) from None


def _refused(message: str) -> Refused:
    what, _, where = message.partition(" - at `")
    where = where.rstrip("`").removeprefix("$").removeprefix(".")
    names = re.findall(r"`([^`]*)`", what)
    if "missing required field" in what:
        param = f"{where}.{names[0]}" if where else names[0]
        return Refused(
            f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
        )
    if "unknown field" in what:
        param = f"{where}.{names[0]}" if where else names[0]
        return Refused(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    if what.startswith("Expected") and len(names) == 2:
        wanted, got = (
            _TYPES.get(name.partition(" | ")[0].partition("[")[0], name) for name in names
        )
        return Refused(
            f"Invalid type for '{where}': expected {wanted}, but got {got} instead.",
            where,
            "invalid_type",
        )
    return Refused(f"Invalid value for '{where}': {what}.", where, "invalid_value")
