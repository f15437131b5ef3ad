"""What a message is made of beside text, and the tools that a model may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "CacheTtl",
    "Media",
    "Part",
    "Reasoning",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
]

# A mark: a provider that caches prompts shall keep this one up to here for so long; "": no mark.
CacheTtl = Literal["", "5m", "1h"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A picture, a sound or a document of a user: `data` with its type, or `uri`, or `file_id`."""

    kind: Literal["image", "audio", "file"]
    media_type: str = ""  # such as "image/png"
    data: bytes = b""
    uri: str = ""
    file_id: str = ""
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool. `arguments_json` is a JSON object."""

    call_id: str
    name: str
    arguments_json: str
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool answered, in a message of role "tool"."""

    call_id: str
    content: str
    is_error: bool = False
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning of an earlier answer, to be handed back unchanged."""

    text: str
    signature: bytes = b""


Part: TypeAlias = Text | Media | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may ask for; `parameters` is a JSON schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model must ask for a tool: `name` is the one that it must ask for."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    one_at_a_time: bool = False
