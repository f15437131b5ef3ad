"""Tools, calls and pictures as OpenAI writes them, which others took over: a part of several formats."""

from base64 import b64encode

import msgspec

from harmost.core.chat import Media, Tool, ToolCall

__all__ = ["function_call", "function_tool", "media_url"]


def function_tool(tool: Tool) -> dict[str, object]:
    """A tool that is offered."""
    function: dict[str, object] = {
        "name": tool.name,
        "parameters": msgspec.Raw(tool.parameters_schema_json.encode()),
    }
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def function_call(call: ToolCall) -> dict[str, object]:
    """A call that the model made."""
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": call.call_id, "type": "function", "function": function}


def media_url(media: Media) -> str:
    """Where it is, or with its data inside."""
    return media.uri or f"data:{media.media_type};base64,{b64encode(media.data).decode()}"
