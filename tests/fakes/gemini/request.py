"""What generateContent takes: fields by name and type, as proto JSON is read, with the vendor's words.

Source: googleapis, google/ai/generativelanguage/v1beta/{generative_service,content}.proto. Fields that
need what the fake does not have (safety, caches, built-in tools, speech) are not among them.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = ["Content", "GenerateContent", "Refused", "checked"]


class Refused(Exception):
    """INVALID_ARGUMENT, with the vendor's words."""


class _Strict(Struct, rename="camel", forbid_unknown_fields=True):
    """Of names that are not these, the vendor says `Cannot find field`."""


# Bytes in proto JSON: either alphabet of base64, padded or not.
_Bytes = Annotated[str, Meta(pattern=r"^([A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}$")]


class _Blob(_Strict):
    mime_type: str
    data: _Bytes


class _FileData(_Strict):
    file_uri: str
    mime_type: str = ""


class _FunctionCall(_Strict):
    name: str
    id: str = ""
    args: dict[str, Any] = {}


class _FunctionResponse(_Strict):
    name: Annotated[str, Meta(min_length=1)]
    response: dict[str, Any]
    id: str = ""


class Part(_Strict):
    """One of its data, and what may stand beside it."""

    text: str | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    thought: bool = False
    thought_signature: _Bytes = ""

    @property
    def data(self) -> list[object]:
        """Which of them it has."""
        each = (self.text, self.inline_data, self.file_data)
        each = (*each, self.function_call, self.function_response)
        return [value for value in each if value is not None]


class Content(_Strict):
    """A turn."""

    parts: list[Part]
    role: Literal["user", "model"] = "user"


class _System(_Strict):
    parts: list[Part]
    role: str = ""


class _FunctionDeclaration(_Strict):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$")]
    description: str = ""
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class _Tool(_Strict):
    function_declarations: list[_FunctionDeclaration]


class _FunctionCallingConfig(_Strict):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = []


class _ToolConfig(_Strict):
    function_calling_config: _FunctionCallingConfig


class _ThinkingConfig(_Strict):
    include_thoughts: bool = False
    thinking_budget: Annotated[int, Meta(ge=-1, le=32_768)] | None = None
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None


class GenerationConfig(_Strict):
    """How to answer."""

    max_output_tokens: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: float | None = None
    candidate_count: Literal[1] = 1
    stop_sequences: Annotated[list[str], Meta(max_length=5)] = []
    seed: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None
    response_mime_type: str = ""
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: _ThinkingConfig = msgspec.field(default_factory=_ThinkingConfig)


class GenerateContent(_Strict):
    """The body."""

    contents: list[Content]
    system_instruction: _System | None = None
    tools: list[_Tool] = []
    tool_config: _ToolConfig | None = None
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)


_SNAKE = re.compile(r"_([a-z])")
_CALLERS = {
    "args",
    "response",
    "parameters",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
}
_UNKNOWN = re.compile(r"unknown field `(\w+)`(?: - at `\$\.?(.*)`)?")


def checked(body: bytes, *, model: str) -> GenerateContent:
    """The body as the vendor reads it. Refused."""
    try:
        request = msgspec.convert(_camel(msgspec.json.decode(body)), GenerateContent)
    except msgspec.ValidationError as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is None:
            raise Refused(f"Invalid value: {error}") from None
        name, place = unknown[1], unknown[2] or ""
        said = f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}'"
        raise Refused(f"{said}: Cannot find field.") from None
    except msgspec.DecodeError:
        raise Refused("Invalid JSON payload received. Expected a value.") from None
    _check_contents(request.contents)
    _check_config(request, model)
    if not model.startswith(("gemini-1", "gemini-2")):
        _check_signatures(request.contents)
    return request


def _camel(read: Any) -> Any:
    """Fields may have their names in the proto as well; what callers define has its own."""
    if isinstance(read, list):
        return [_camel(one) for one in read]
    if not isinstance(read, dict):
        return read
    named = {_SNAKE.sub(lambda found: found[1].upper(), name): one for name, one in read.items()}
    return {name: one if name in _CALLERS else _camel(one) for name, one in named.items()}


def _check_contents(contents: list[Content]) -> None:
    if not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified\n")
    calls = 0
    for content in contents:
        if not content.parts:
            raise Refused(
                "* GenerateContentRequest.contents.parts: contents.parts must not be empty.\n"
            )
        for part in content.parts:
            if len(part.data) != 1:
                raise Refused(
                    "Invalid value at 'contents.parts': oneof field 'data' must be set once"
                )
            if part.text == "" and not part.thought_signature:
                raise Refused("Unable to submit request because it has an empty text parameter.")
        results = sum(part.function_response is not None for part in content.parts)
        if results != calls and (results or calls):
            raise Refused(
                "Please ensure that the number of function response parts is equal to the number of "
                "function call parts of the function call turn."
            )
        calls = sum(part.function_call is not None for part in content.parts)


def _check_config(request: GenerateContent, model: str) -> None:
    config = request.generation_config
    thinking = config.thinking_config
    if thinking.thinking_budget is not None and thinking.thinking_level is not None:
        raise Refused("You can only set only one of thinking budget and thinking level.")
    if thinking.thinking_level is not None and model.startswith(("gemini-1", "gemini-2")):
        raise Refused("Thinking level is not supported for this model.")
    schema = config.response_schema or config.response_json_schema
    if schema is not None and config.response_mime_type != "application/json":
        raise Refused("response_schema only allowed for response mime type application/json")
    if request.tool_config is not None:
        calling = request.tool_config.function_calling_config
        declared = [one.name for tool in request.tools for one in tool.function_declarations]
        if calling.allowed_function_names and calling.mode not in ("ANY", "VALIDATED"):
            raise Refused("allowed_function_names should only be set when the mode is ANY.")
        if not set(calling.allowed_function_names) <= set(declared):
            raise Refused("allowed_function_names must be a subset of function_declarations names.")


def _check_signatures(contents: list[Content]) -> None:
    """Of the current turn: what came after the user's last words."""
    begun = 0
    for at, content in enumerate(contents):
        if any(part.function_response is None for part in content.parts) and content.role == "user":
            begun = at
    for content in contents[begun:]:
        calls = [part for part in content.parts if part.function_call is not None]
        if calls and not calls[0].thought_signature:
            assert calls[0].function_call is not None
            raise Refused(
                "Function call is missing a thought_signature in functionCall parts. This is required "
                "for tools to work correctly, and missing thought_signature may lead to degraded model "
                f"performance. Additional data, function call `{calls[0].function_call.name}`, position 1."
            )
