"""What OpenAI takes in Responses, as far as the fake answers it; anything else is refused.

Source: openai/openai-openapi, `CreateResponse`. The words of refusals are the vendor's.
"""

from typing import Annotated, Any, Literal

import msgspec

from fakes.openai.requests import Effort, Refused, Strict, check_image, check_name

__all__ = ["Responses", "seal"]

# Reports of October 2025 to September 2026: fewer are refused with these words.
_OUTPUT_TOKENS_LEAST = 16


class _InputText(Strict, tag_field="type", tag="input_text"):
    text: str


class _InputImage(Strict, tag_field="type", tag="input_image"):
    detail: Literal["auto", "low", "high", "original"] = "auto"
    image_url: str | None = None
    file_id: str | None = None


class _InputFile(Strict, tag_field="type", tag="input_file"):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None


class _OutputText(Strict, tag_field="type", tag="output_text"):
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class _Message(Strict):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_InputText | _InputImage | _InputFile | _OutputText]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class _FunctionCall(Strict):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class _FunctionCallOutput(Strict):
    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None


class _SummaryText(Strict):
    type: Literal["summary_text"]
    text: str


class _Reasoning(Strict):
    type: Literal["reasoning"]
    summary: list[_SummaryText]
    id: str | None = None
    encrypted_content: str | None = None
    content: list[Any] | None = None
    status: str | None = None


_ITEMS = {
    "message": _Message,
    "function_call": _FunctionCall,
    "function_call_output": _FunctionCallOutput,
    "reasoning": _Reasoning,
}


class _Tool(Strict):
    type: Literal["function"]
    name: str
    parameters: dict[str, Any] | None
    strict: bool | None = True
    description: str | None = None


class _NamedTool(Strict):
    type: Literal["function"]
    name: str


class _Format(Strict):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _Text(Strict):
    format: _Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class _Effort(Strict):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Responses(Strict):
    """`POST /responses`."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Effort | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    store: bool | None = None
    stream: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None

    def check(self) -> None:
        """What types do not say. Refused."""
        least, asked = _OUTPUT_TOKENS_LEAST, self.max_output_tokens
        if asked is not None and asked < least:
            raise Refused(
                "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= "
                f"{least}, but got {asked} instead.",
                "max_output_tokens",
                "integer_below_min_value",
            )
        for at, tool in enumerate(self.tools or ()):
            check_name(tool.name, f"tools[{at}].name")
            if tool.strict is not False:
                _check_strict(tool.parameters or {}, tool.name)
        form = self.text.format if self.text is not None else None
        if form is not None and form.type == "json_schema":
            check_name(form.name or "", "text.format.name")
        if not isinstance(self.input, str):
            self._check_items([_item(at, raw) for at, raw in enumerate(self.input)])

    @property
    def sealed(self) -> bool:
        """Whether reasoning is to be handed out encrypted."""
        return "reasoning.encrypted_content" in (self.include or ())

    def _check_items(self, items: list[Any]) -> None:
        asked: set[str] = set()
        for at, item in enumerate(items):
            match item:
                case _Message(content=list() as parts):
                    for part in parts:
                        if isinstance(part, _InputImage) and part.image_url is not None:
                            check_image(part.image_url, f"input[{at}]")
                case _FunctionCall():
                    asked.add(item.call_id)
                case _FunctionCallOutput():
                    if item.call_id not in asked:
                        raise Refused(
                            f"No tool call found for function call output with call_id {item.call_id}.",
                            "input",
                            None,
                        )
                    asked.remove(item.call_id)
                case _Reasoning():
                    _check_reasoning(item)
                case _:
                    pass
        if asked:
            raise Refused(f"No tool output found for function call {min(asked)}.", "input", None)


def _item(at: int, raw: dict[str, Any]) -> Any:
    kind = _ITEMS.get(raw.get("type", "message"))
    where = f"input[{at}]"
    if kind is None:
        raise Refused(f"Invalid value: '{raw['type']}'.", where, "invalid_value")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"Invalid value for '{where}': {error}.", where, "invalid_value") from None


def seal(item_id: str) -> str:
    """What the item of this id holds, encrypted."""
    return f"gAAAAAB{item_id}=="


def _check_reasoning(item: _Reasoning) -> None:
    """Nothing is kept: the item is whole, and it is ours."""
    if item.encrypted_content is None:
        raise Refused(
            f"Item with id '{item.id}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input.",
            "input",
            None,
        )
    if item.id is None or item.encrypted_content != seal(item.id):
        raise Refused(
            f"The encrypted content for item {item.id} could not be verified. Reason: Encrypted content "
            "item_id did not match the target item id.",
            None,
            "invalid_encrypted_content",
        )


def _check_strict(parameters: dict[str, Any], name: str) -> None:
    """What `strict`, which is the default here, asks of a tool."""
    required = set(parameters.get("required", ()))
    if parameters.get("additionalProperties") is not False or required != set(
        parameters.get("properties", {})
    ):
        raise Refused(
            f"Invalid schema for function '{name}': In context=(), 'additionalProperties' is required to "
            "be supplied and to be false.",
            "tools[0].parameters",
            "invalid_function_parameters",
        )
