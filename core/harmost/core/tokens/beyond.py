"""Input that is no words of a message: tool calls, results and reasoning, tools on offer, a schema.

Pictures, sounds and documents are not counted here: their tokens are not in their bytes.
"""

from collections.abc import Iterable

from harmost.core.chat import Generation, Message, Part, Reasoning, ToolCall, ToolResult

__all__ = ["estimate_beyond_text", "tokens_max_beyond_text"]

# A call, a result, a tool: markers, names of fields, separators.
_PART_OVERHEAD_TOKENS = 32
# What a vendor tells its model of tools at all: Anthropic says up to 530 tokens.
_TOOLS_OVERHEAD_TOKENS = 1_024
# Templates print JSON with an indent, and some write a schema in another language: an element of two
# bytes gets a line and its indent, which are a token each.
_TOKENS_PER_JSON_BYTE = 3
_BYTES_PER_TOKEN = 4


def tokens_max_beyond_text(messages: Iterable[Message], generation: Generation) -> int:
    """No provider bills more input tokens for it than this. O(characters)."""
    parts, text_bytes, json_bytes = _sizes(messages, generation)
    tools = _TOOLS_OVERHEAD_TOKENS if generation.tools else 0
    overhead = tools + parts * _PART_OVERHEAD_TOKENS
    return overhead + text_bytes + json_bytes * _TOKENS_PER_JSON_BYTE


def estimate_beyond_text(messages: Iterable[Message], generation: Generation) -> int:
    """About how many tokens it has. O(characters)."""
    _, text_bytes, json_bytes = _sizes(messages, generation)
    return -(-(text_bytes + json_bytes) // _BYTES_PER_TOKEN)


def _sizes(messages: Iterable[Message], generation: Generation) -> tuple[int, int, int]:
    """How many parts, bytes of words and bytes of JSON."""
    sizes = [size for message in messages for part in message.parts for size in _part_sizes(part)]
    sizes += [
        (_bytes(tool.name) + _bytes(tool.description), _bytes(tool.parameters_schema_json))
        for tool in generation.tools
    ]
    if generation.output_schema_json:
        sizes.append((0, _bytes(generation.output_schema_json)))
    return len(sizes), sum(text for text, _ in sizes), sum(json for _, json in sizes)


def _part_sizes(part: Part) -> Iterable[tuple[int, int]]:
    match part:
        case ToolCall(call_id, name, arguments_json):
            yield _bytes(call_id) + _bytes(name), _bytes(arguments_json)
        case ToolResult(call_id, content):  # which may be JSON that a template prints anew
            yield _bytes(call_id), _bytes(content)
        case Reasoning(text, signature):
            yield _bytes(text) + len(signature), 0
        case _:
            pass


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
