"""What Anthropic takes: types and rules of a request, and the words in which it refuses one.

Source: docs.anthropic.com, "Messages", "Prompt caching", "Extended thinking", "Structured outputs",
"Versioning"; messages of refusals as its users quote them.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

__all__ = ["LATER", "OLDER", "Request", "cache_marks", "problem", "request_of"]

OLDER, LATER = "2023-06-01", "2026-10-21"

Id: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]+$")]
Name: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]


class Tagged(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """An object that its `type` names; no other fields."""


class Ephemeral(Tagged, tag="ephemeral"):
    ttl: Literal["5m", "1h"] = "5m"


class Base64(Tagged, tag="base64"):
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"]
    data: Annotated[str, msgspec.Meta(min_length=4, pattern="^[A-Za-z0-9+/]+=*$")]


class Url(Tagged, tag="url"):
    url: Annotated[str, msgspec.Meta(pattern="^https?://")]


class File(Tagged, tag="file"):
    file_id: str


class TextBlock(Tagged, tag="text"):
    text: str
    cache_control: Ephemeral | None = None
    citations: list[Any] | None = None


class ImageBlock(Tagged, tag="image"):
    source: Base64 | Url | File
    cache_control: Ephemeral | None = None


class DocumentBlock(Tagged, tag="document"):
    source: Base64 | Url | File
    cache_control: Ephemeral | None = None


class ToolUse(Tagged, tag="tool_use"):
    id: Id
    name: Name
    input: dict[str, Any]
    cache_control: Ephemeral | None = None
    caller: Any = None


class ToolResult(Tagged, tag="tool_result"):
    tool_use_id: Id
    content: str | list[TextBlock | ImageBlock] = ""
    is_error: bool = False
    cache_control: Ephemeral | None = None


class Thinking(Tagged, tag="thinking"):
    thinking: str
    signature: Annotated[str, msgspec.Meta(min_length=1)]


class RedactedThinking(Tagged, tag="redacted_thinking"):
    data: Annotated[str, msgspec.Meta(min_length=1)]


Block: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ToolUse | ToolResult | Thinking | RedactedThinking
)


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        """Its content; a lone string is one text."""
        return [TextBlock(self.content)] if isinstance(self.content, str) else self.content


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    input_schema: dict[str, Any]
    description: str = ""
    cache_control: Ephemeral | None = None


class Auto(Tagged, tag="auto"):
    disable_parallel_tool_use: bool = False


class Any_(Tagged, tag="any"):
    disable_parallel_tool_use: bool = False


class Named(Tagged, tag="tool"):
    name: str
    disable_parallel_tool_use: bool = False


class Forbidden(Tagged, tag="none"):
    pass


class Adaptive(Tagged, tag="adaptive"):
    pass


class Disabled(Tagged, tag="disabled"):
    pass


class JsonSchema(Tagged, tag="json_schema"):
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonSchema | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    system: str | list[TextBlock] = ""
    stream: bool = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []
    tools: list[Tool] = []
    tool_choice: Auto | Any_ | Named | Forbidden | None = None
    thinking: Adaptive | Disabled | None = None
    output_config: OutputConfig = msgspec.field(default_factory=OutputConfig)


_decoder = msgspec.json.Decoder(Request)
_AT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(\w+)`")


def request_of(body: bytes) -> "Request | str":
    """The request, or in the vendor's words what is wrong with its types."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        said = _AT.fullmatch(str(error))
        assert said is not None
        path = (said[2] or "").replace("[", ".").replace("]", "").removesuffix(".")
        what = said[1]
        for pattern, words in (
            (_MISSING, "Field required"),
            (_UNKNOWN, "Extra inputs are not permitted"),
        ):
            if match := pattern.fullmatch(what):
                path, what = f"{path}.{match[1]}".lstrip("."), words
        return f"{path}: {what}"
    except msgspec.DecodeError:
        return "The request body is not valid JSON"


def problem(request: Request, version: str) -> str:
    """What the rules beyond types have against it; "": nothing."""
    return next(_problems(request, version), "")


def _problems(request: Request, version: str) -> Iterator[str]:
    if version == LATER:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(request, name) is not None:
                yield f"{name}: Extra inputs are not permitted"
    yield from _of_blocks(request, version)
    yield from _of_tools(request)
    yield from _of_marks(request)
    if isinstance(request.thinking, Adaptive):
        if request.temperature not in (None, 1):
            yield "`temperature` may only be set to 1 when thinking is enabled."
        if request.top_p is not None and request.top_p < 0.95:
            yield "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."
        if isinstance(request.tool_choice, Any_ | Named):
            yield "Thinking may not be enabled when tool_choice forces tool use."
    if any(not stop.strip() for stop in request.stop_sequences):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    if request.output_config.format is not None:
        yield from _of_schema(request.output_config.format.schema)


def _of_blocks(request: Request, version: str) -> Iterator[str]:
    for at, message in enumerate(request.messages):
        if not message.blocks:
            yield f"messages.{at}: all messages must have non-empty content"
        for number, block in enumerate(message.blocks):
            assistants = isinstance(block, ToolUse | Thinking | RedactedThinking)
            kind = block.__struct_config__.tag
            if isinstance(block, TextBlock) and not block.text.strip():
                yield "messages: text content blocks must contain non-whitespace text"
            if assistants and message.role == "user":
                yield f"messages.{at}.content.{number}: `{kind}` blocks can only be in `assistant` messages"
            users = isinstance(block, ToolResult | ImageBlock)
            if version == LATER:
                users = users or isinstance(block, DocumentBlock)
            if users and message.role == "assistant":
                yield f"messages.{at}.content.{number}: `{kind}` blocks are not permitted in `assistant` messages"


def _turns(messages: list[Message]) -> list[tuple[str, list[Block]]]:
    """Messages of one role in a row are one."""
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(message.blocks)
        else:
            turns.append((message.role, list(message.blocks)))
    return turns


def _of_tools(request: Request) -> Iterator[str]:
    asked: list[str] = []
    for at, (role, blocks) in enumerate(_turns(request.messages)):
        results = [block.tool_use_id for block in blocks if isinstance(block, ToolResult)]
        if asked and role == "user" and (left := set(asked) - set(results)):
            yield (
                f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(sorted(left))}"
            )
        if strange := set(results) - set(asked):
            yield (
                f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(sorted(strange))}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        asked = [block.id for block in blocks if isinstance(block, ToolUse)]
    names = [tool.name for tool in request.tools]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    if any(tool.input_schema.get("type") != "object" for tool in request.tools):
        yield "tools.0.input_schema.type: Input should be 'object'"
    if isinstance(request.tool_choice, Named) and request.tool_choice.name not in names:
        yield f"Tool '{request.tool_choice.name}' not found in provided tools"
    if request.tool_choice is not None and not names:
        yield "tool_choice may only be specified while providing tools"


def cache_marks(request: Request) -> list[tuple[str, Ephemeral]]:
    """Where each mark stands, and the mark, in the order of the prompt."""
    system = request.system if isinstance(request.system, list) else []
    placed: list[tuple[str, Any]] = [(f"tools.{n}", tool) for n, tool in enumerate(request.tools)]
    placed += [(f"system.{n}", block) for n, block in enumerate(system)]
    placed += [
        (f"messages.{at}.content.{n}", block)
        for at, message in enumerate(request.messages)
        for n, block in enumerate(message.blocks)
    ]
    marks = [(place, getattr(block, "cache_control", None)) for place, block in placed]
    return [(place, mark) for place, mark in marks if mark is not None]


def _of_marks(request: Request) -> Iterator[str]:
    marks = cache_marks(request)
    if len(marks) > 4:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}."
    short = False
    for place, mark in marks:
        if short and mark.ttl == "1h":
            yield (
                f"{place}.cache_control.ttl: a ttl='1h' cache_control block must not come after a "
                "ttl='5m' cache_control block. Note that blocks are processed in the following order: "
                "`tools`, `system`, `messages`."
            )
        short = short or mark.ttl == "5m"


def _of_schema(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _of_schema(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield (
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )
    for each in schema.values():
        yield from _of_schema(each)
