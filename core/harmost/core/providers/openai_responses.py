"""Codec for OpenAI's Responses, which Azure v1 and some look-alikes speak as well.

Source: openai/openai-openapi, `CreateResponse` and `ResponseStreamEvent`. Nothing is kept by the vendor
(`store: false`): what it reasoned comes back encrypted, and is handed back so.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from harmost.core.chat import (
    FinishReason,
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
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    HttpRequest,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.failures import UNREADABLE, broken
from harmost.core.providers.marks import marks
from harmost.core.providers.openai_errors import refused, stated_by_openai
from harmost.core.providers.reader import EventReader
from harmost.core.providers.usage.openai import ResponsesUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["ResponsesCodec", "ResponsesReader"]


class _Seal(msgspec.Struct):
    """What is under the seal of reasoning: an item of the answer, without its words."""

    id: str
    encrypted_content: str


class _Item(msgspec.Struct):
    """Any item of an answer; what is no call and no reasoning has fields of other types."""

    type: str = ""
    id: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    encrypted_content: Any = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    usage: ResponsesUsage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Frame(msgspec.Struct, gc=False):
    """Any event of the stream: new kinds may come, so their names are not an enumeration."""

    type: str
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    arguments: Any = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: Any = None


class _Words(msgspec.Struct, gc=False):
    delta: str


_TEXT_BEGINS = b'{"type":"response.output_text.delta",'
_words_decoder = msgspec.json.Decoder(_Words)
_frame_decoder = msgspec.json.Decoder(_Frame)
_seal_decoder = msgspec.json.Decoder(_Seal)


class ResponsesCodec:
    """`POST /responses`, streamed. The base URL ends with the API version.

    The vendor takes no `output_tokens_max` below 16: it refuses such a request.
    """

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """Sounds have no form. There are no stop sequences, no seed, no marks of what shall be cached.

        Reasoning is taken back under its own seal alone, and results without the mark that they failed.
        """
        parts = [part for message in messages for part in message.parts]
        asked = {
            "stop": bool(generation.stop),
            "seed": generation.seed is not None,
            "cache": bool(marks(messages, generation)),
            "reasoning": any(isinstance(p, Reasoning) and _sealed(p) is None for p in parts),
            "tool_result.is_error": any(isinstance(p, ToolResult) and p.is_error for p in parts),
        }
        sounds = any(isinstance(part, Media) and part.kind == "audio" for part in parts)
        return Fit(
            lacks=("audio",) if sounds else (),
            drops=tuple(name for name, is_asked in asked.items() if is_asked),
        )

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        generation = request.generation
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "input": [item for message in request.messages for item in _items(message)],
            "max_output_tokens": request.output_tokens_max,
            "stream": True,
            "store": False,
        }
        if generation.temperature_permille is not None:
            body["temperature"] = generation.temperature_permille / 1000
        if generation.top_p_permille is not None:
            body["top_p"] = generation.top_p_permille / 1000
        if generation.output_schema_json:
            body["text"] = {"format": _schema(generation.output_schema_json)}
        if generation.tools:
            body["tools"] = [_tool(tool) for tool in generation.tools]
            body["tool_choice"] = _tool_choice(generation.tool_choice)
            if generation.tool_choice.one_at_a_time:
                body["parallel_tool_calls"] = False
        if generation.reasoning_effort:
            body |= _reasoning(generation.reasoning_effort)
        if request.service_tier != "standard":
            body["service_tier"] = request.service_tier
        return HttpRequest(
            path="/responses",
            headers={"content-type": "application/json", "accept": "text/event-stream"},
            body=msgspec.json.encode(body),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token; none when `secret` is empty."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def reader(self) -> "ResponsesReader":
        """A fresh reader for the events of one streamed answer."""
        return ResponsesReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        return refused(status=status, headers=headers, body=body)


class ResponsesReader(EventReader[_Frame]):
    """Reads one answer."""

    LAST = "response.completed"

    def __init__(self) -> None:
        super().__init__(_frame_decoder)
        self._calls: dict[int, int] = {}  # an item's index → which of the answer's calls it is
        self._without_arguments: set[int] = set()  # calls of which no argument was said yet
        self._showed = False  # reasoning, since the last item

    def take(self, data: bytes) -> list[Event]:
        """What one event of the stream means."""
        if self.over:
            return []
        if data.startswith(_TEXT_BEGINS):  # nearly all do
            try:
                return [TextDelta(_words_decoder.decode(data).delta)]
            except UNREADABLE:
                pass  # the whole decoder tells of it
        return super().take(data)

    def _take(self, frame: _Frame, events: list[Event]) -> None:
        match frame.type:
            case "response.output_text.delta" | "response.refusal.delta":
                events.append(TextDelta(_text(frame.delta)))
            case "response.function_call_arguments.delta":
                self._arguments(frame.output_index, _text(frame.delta), events)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._showed = True
                events.append(ReasoningDelta(text=_text(frame.delta)))
            case "response.reasoning_summary_part.added":
                if frame.summary_index and self._showed:
                    events.append(ReasoningDelta(text="\n\n"))
            case "response.function_call_arguments.done":
                self._all_arguments(frame.output_index, _text(frame.arguments), events)
            case "response.output_item.added":
                if frame.item is not None:
                    self._begun(frame.output_index, frame.item, events)
            case "response.output_item.done":
                if frame.item is not None:
                    self._done(frame.output_index, frame.item, events)
            case _:
                self._of_the_whole(frame, events)

    def _of_the_whole(self, frame: _Frame, events: list[Event]) -> None:
        """An event about the answer, or of a kind to come."""
        response = frame.response or _Response()
        self.response_id = self.response_id or response.id or ""
        match frame.type:
            case "response.completed":
                self._report(response.usage, events)
                self._end(Ended(self._finish, self.response_id), events)
            case "response.incomplete":
                self._report(response.usage, events)
                self._end(Ended(_cut_by(response.incomplete_details), self.response_id), events)
            case "response.failed":
                self._report(response.usage, events)
                self._end(stated_by_openai(response.error), events)
            case "response.cancelled":
                self._end(broken("the provider gave up: `cancelled`"), events)
            case "error":
                # The vendor's own stream says it in an object, its specification beside the type.
                beside = {"code": frame.code, "message": frame.message}
                self._end(stated_by_openai(frame.error or beside), events)
            case _:
                pass

    @property
    def _finish(self) -> FinishReason:
        return "tool_calls" if self._calls else "stop"

    def _begun(self, output_index: int, item: _Item, events: list[Event]) -> None:
        self._showed = False
        if item.type != "function_call" or output_index in self._calls:
            return
        if len(self._calls) == ANSWER_TOOL_CALLS_MAX:
            self._end(broken("the answer asks for more tools than can be read"), events)
            return
        index = self._calls[output_index] = len(self._calls)
        arguments = _text(item.arguments)
        if not arguments:
            self._without_arguments.add(index)
        events.append(
            ToolCallDelta(
                index=index,
                call_id=_text(item.call_id),
                name=_text(item.name),
                arguments=arguments,
            )
        )

    def _arguments(self, output_index: int, arguments: str, events: list[Event]) -> None:
        index = self._calls.get(output_index)
        if index is not None and arguments:
            self._without_arguments.discard(index)
            events.append(ToolCallDelta(index=index, arguments=arguments))

    def _all_arguments(self, output_index: int, arguments: str, events: list[Event]) -> None:
        """They are whole: some servers say them only now."""
        if self._calls.get(output_index) in self._without_arguments:
            self._arguments(output_index, arguments, events)

    def _done(self, output_index: int, item: _Item, events: list[Event]) -> None:
        if item.type == "function_call":
            if output_index not in self._calls:
                self._begun(output_index, item, events)
            self._all_arguments(output_index, _text(item.arguments), events)
        elif item.type == "reasoning" and _text(item.encrypted_content):
            seal = _Seal(_text(item.id), _text(item.encrypted_content))
            events.append(ReasoningDelta(signature=msgspec.json.encode(seal)))
        self._showed = False

    def _report(self, usage: ResponsesUsage | None, events: list[Event]) -> None:
        try:
            normal = usage.normal(exact=True) if usage is not None else None
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cut_by(details: _Incomplete | None) -> FinishReason:
    filtered = details is not None and details.reason == "content_filter"
    return "content_filter" if filtered else "length"


def _sealed(part: Reasoning) -> _Seal | None:
    """What is under its seal; None: it has none, or another vendor's."""
    try:
        return _seal_decoder.decode(part.signature)
    except UNREADABLE:
        return None


def _items(message: Message) -> Iterator[dict[str, object]]:
    """A message in the vendor's form: calls, results and reasoning are items of their own."""
    for is_said, parts in groupby(message.parts, lambda part: isinstance(part, Text | Media)):
        if is_said:
            yield {"role": message.role, "content": _content(message.role, tuple(parts))}
        else:
            yield from filter(None, map(_item, parts))


def _content(role: str, parts: Sequence[Part]) -> object:
    if role == "assistant" or all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [
        {"type": "input_text", "text": part.text} if isinstance(part, Text) else _media(part)
        for part in parts
        if isinstance(part, Text | Media)
    ]


def _item(part: Part) -> dict[str, object] | None:
    match part:
        case ToolCall():
            return {
                "type": "function_call",
                "call_id": part.call_id,
                "name": part.name,
                "arguments": part.arguments_json,
            }
        case ToolResult():
            return {
                "type": "function_call_output",
                "call_id": part.call_id,
                "output": part.content,
            }
        case Reasoning() if (seal := _sealed(part)) is not None:
            shown = [{"type": "summary_text", "text": part.text}] if part.text else []
            return {
                "type": "reasoning",
                "id": seal.id,
                "summary": shown,
                "encrypted_content": seal.encrypted_content,
            }
        case _:
            return None


def _media(media: Media) -> dict[str, object]:
    url = media.uri or f"data:{media.media_type};base64,{b64encode(media.data).decode()}"
    if media.kind == "image":
        where = {"file_id": media.file_id} if media.file_id else {"image_url": url}
        return {"type": "input_image", "detail": "auto", **where}
    if media.file_id:
        return {"type": "input_file", "file_id": media.file_id}
    if media.uri:
        return {"type": "input_file", "file_url": media.uri}
    return {"type": "input_file", "filename": "document", "file_data": url}


def _tool(tool: Tool) -> dict[str, object]:
    """`strict` is said, since it is what is meant where nothing is; see openai.py."""
    wire: dict[str, object] = {
        "type": "function",
        "name": tool.name,
        "parameters": msgspec.Raw(tool.parameters_schema_json.encode()),
        "strict": False,
    }
    if tool.description:
        wire["description"] = tool.description
    return wire


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode == "named":
        return {"type": "function", "name": choice.name}
    return choice.mode


def _schema(schema_json: str) -> dict[str, object]:
    return {
        "type": "json_schema",
        "name": "answer",
        "schema": msgspec.Raw(schema_json.encode()),
        "strict": False,
    }


def _reasoning(effort: str) -> dict[str, object]:
    if effort == "none":
        return {"reasoning": {"effort": effort}}
    return {
        "reasoning": {"effort": effort, "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
