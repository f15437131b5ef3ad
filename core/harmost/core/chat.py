"""A call as the mesh thinks of it, free of any wire format: who asks, for what, with which claims."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "CacheTtl",
    "Call",
    "Claims",
    "EmbedPurpose",
    "Embeds",
    "FinishReason",
    "Generation",
    "Media",
    "MediaKind",
    "Message",
    "MessageRole",
    "Part",
    "Reasoning",
    "ReasoningEffort",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
]

MessageRole = Literal["system", "user", "assistant", "tool"]
MediaKind = Literal["image", "audio", "file"]
ReasoningEffort = Literal["", "none", "low", "medium", "high"]
EmbedPurpose = Literal["", "document", "query", "classification", "clustering"]
# A mark: the prompt up to here, this included, shall be kept by the provider for so long; "": no mark.
# The prompt's order is tools, system messages, the others.
CacheTtl = Literal["", "5m", "1h"]

FinishReason = Literal[
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "budget_exhausted",
    "provider_broke",
]


class Text(msgspec.Struct, frozen=True):
    """Words."""

    text: str
    cache: CacheTtl = ""


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, a sound or a document: exactly one of `data`, `uri` and `file_id` says where."""

    kind: MediaKind
    media_type: str = ""  # IANA, such as "image/png"
    data: bytes = b""
    uri: str = ""  # that the provider fetches
    file_id: str = ""  # that the provider keeps
    cache: CacheTtl = ""


class ToolCall(msgspec.Struct, frozen=True):
    """The model asks for a tool. `arguments_json` is a JSON object."""

    call_id: str
    name: str
    arguments_json: str
    cache: CacheTtl = ""


class ToolResult(msgspec.Struct, frozen=True):
    """What the tool answered to the call of this id."""

    call_id: str
    content: str
    is_error: bool = False
    cache: CacheTtl = ""


class Reasoning(msgspec.Struct, frozen=True):
    """What a model shows of its reasoning, with the provider's seal, to be handed back unchanged.

    Without text it is hidden: the seal is all there is.
    """

    text: str
    signature: bytes = b""


Part: TypeAlias = Text | Media | ToolCall | ToolResult | Reasoning


class Message(msgspec.Struct, frozen=True):
    """One message, its parts in order. Calls and reasoning are an assistant's, results a tool's."""

    role: MessageRole
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: MessageRole, text: str) -> "Message":
        """A message that is text alone."""
        return cls(role, (Text(text),))

    @property
    def text(self) -> str:
        """Its words, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def written(self) -> Iterator[str]:
        """Everything in it that can be read: words, calls, results, reasoning shown, addresses."""
        for part in self.parts:
            match part:
                case Text(text) | Reasoning(text):
                    yield text
                case ToolCall(call_id, name, arguments_json):
                    yield from (call_id, name, arguments_json)
                case ToolResult(call_id, content):
                    yield from (call_id, content)
                case Media():
                    yield part.uri

    def rewritten(self, text: Callable[[str], str], json: Callable[[str], str]) -> "Message":
        """The same with each piece of `written` changed: arguments by `json`, the rest by `text`."""
        return Message(self.role, tuple(_rewritten(part, text, json) for part in self.parts))


def _rewritten(part: Part, text: Callable[[str], str], json: Callable[[str], str]) -> Part:
    match part:
        case Text():
            return Text(text(part.text), part.cache)
        case ToolCall():
            # A result names its call: what is replaced is replaced alike in both.
            call_id, name = text(part.call_id), text(part.name)
            return ToolCall(call_id, name, json(part.arguments_json), part.cache)
        case ToolResult():
            call_id, content = text(part.call_id), text(part.content)
            return ToolResult(call_id, content, part.is_error, part.cache)
        case Reasoning():
            words = text(part.text)
            # A seal on other words than these would be refused.
            return part if words == part.text else Reasoning(words)
        case Media():
            return msgspec.structs.replace(part, uri=text(part.uri)) if part.uri else part


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may ask for. `parameters_schema_json` is a JSON schema of an object."""

    name: str
    description: str = ""
    parameters_schema_json: str = '{"type":"object"}'
    cache: CacheTtl = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether it must ask for one: "named" means `name`. `one_at_a_time`: at most one in an answer."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str = ""
    one_at_a_time: bool = False


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is made. 0, "" or None leaves it to the profile, then to the provider."""

    output_tokens_max: int = 0
    temperature_permille: int | None = None
    top_p_permille: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort = ""
    output_schema_json: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()


class Embeds(msgspec.Struct, frozen=True, kw_only=True):
    """What vectors are wanted. `dimensions` 0 and `purpose` "" leave it to the model."""

    dimensions: int = 0
    purpose: EmbedPurpose = ""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller states about the person or the purpose, as far as its tenant grants it."""

    purpose: str = ""
    lawful_basis: str = ""
    subject_region: str = ""
    opt_outs: tuple[str, ...] = ()
    significant_decision: bool = False
    human_review: bool = False
    data_classes: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One admitted call of a mission profile. `tenant` is the path that is charged.

    `traceparent` and `tracestate` are its caller's (otel/context.py); `streamed`: the answer is.
    With `embeds` each message is a text that becomes a vector; None: an answer is asked for.
    """

    profile: str
    tenant: str
    principal: str
    messages: tuple[Message, ...]
    generation: Generation = Generation()
    claims: Claims = Claims()
    agent_id: str = ""
    end_user_id: str = ""
    data_subject_id: str = ""
    labels: Mapping[str, str] = {}
    idempotency_key: str = ""
    traceparent: str = ""
    tracestate: str = ""
    streamed: bool = False
    embeds: Embeds | None = None
