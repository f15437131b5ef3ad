"""What comes on top of the bytes that are written: markers, seals, JSON that is printed anew.

Of pictures, sounds and documents only the markers: their tokens are not in their bytes.
"""

from collections.abc import Iterable

from harmost.core.chat import Generation, Message, Part, Reasoning, Text, ToolCall, ToolResult

__all__ = ["tokens_max_beyond"]

# A call, a result, a tool, a picture: markers, names of fields, separators.
_PART_OVERHEAD_TOKENS = 32
# What a vendor tells its model of tools at all: Anthropic says up to 530 tokens.
_TOOLS_OVERHEAD_TOKENS = 1_024
# Templates print JSON with an indent, and some write a schema in another language: an element of two
# bytes gets a line and its indent, a token each. Its own bytes count elsewhere.
_TOKENS_MORE_PER_JSON_BYTE = 2


def tokens_max_beyond(messages: Iterable[Message], generation: Generation) -> int:
    """No provider bills more input tokens than this and a token for each byte of what is written."""
    tokens = sum(_part(part) for message in messages for part in message.parts)
    if generation.tools:
        tokens += _TOOLS_OVERHEAD_TOKENS
        for tool in generation.tools:
            tokens += _PART_OVERHEAD_TOKENS + _json(tool.parameters_schema_json)
    return tokens + _json(generation.output_schema_json)


def _part(part: Part) -> int:
    match part:
        case Text():
            return 0
        case ToolCall():
            more = _json(part.arguments_json)
        case ToolResult():  # which may be JSON that a template prints anew
            more = _json(part.content)
        case Reasoning(_, signature):
            more = len(signature)
        case _:
            more = 0
    return _PART_OVERHEAD_TOKENS + more


def _json(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) * _TOKENS_MORE_PER_JSON_BYTE
