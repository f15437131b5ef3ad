"""What Converse refuses, beyond what the service's description says, in its own words.

Source: AWS, "Amazon Bedrock User Guide", "Using the Converse API" and "Call a tool with the Converse API";
the words are as users of the service report them.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedrock_shapes import problems_of_request

__all__ = ["Invalid", "read"]

CACHE_POINTS_MAX = 4


class Invalid(Exception):
    """The words of a ValidationException."""


def read(operation: str, body: bytes, model: str) -> Mapping[str, Any]:
    """The request in `body`; Invalid."""
    try:
        request: Any = json.loads(body)
    except ValueError:
        raise Invalid(
            "Malformed input request, please reformat your input and try again."
        ) from None
    problems = problems_of_request(operation, request, modelId=model)
    if problems:
        found = f"{len(problems)} validation error" + "s" * (len(problems) > 1)
        raise Invalid(f"{found} detected: " + "; ".join(problems))
    messages = request.get("messages") or []
    if not messages or messages[0]["role"] != "user":
        raise Invalid("A conversation must start with a user message. Try again with one.")
    for before, after in itertools.pairwise(messages):
        if before["role"] == after["role"]:
            raise Invalid("A conversation must alternate between user and assistant roles.")
    blocks = list(_blocks(messages))
    _check_words(blocks)
    _check_calls(messages)
    _check_tools(request.get("toolConfig"), [block for _, block in blocks])
    _check_points(request)
    _check_schema(request)
    return request


def _blocks(messages: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for n, message in enumerate(messages):
        for m, block in enumerate(message["content"]):
            yield f"messages.{n}.content.{m}", block


def _check_words(blocks: Sequence[tuple[str, Any]]) -> None:
    for where, block in blocks:
        if not block.get("text", "x").strip():
            raise Invalid(f"The text field in the ContentBlock object at {where} is blank.")
    names = [block["document"]["name"] for _, block in blocks if "document" in block]
    if len(names) != len(set(names)):
        raise Invalid("The documents in a conversation must have names of their own.")


def _check_calls(messages: Sequence[Any]) -> None:
    """Each call is answered by the message that follows, and nothing else is."""
    asked: list[str] = []
    for n, message in enumerate(messages):
        answered = [b["toolResult"]["toolUseId"] for b in message["content"] if "toolResult" in b]
        if sorted(answered) != sorted(asked):
            ids = ", ".join(asked)
            raise Invalid(f"Expected toolResult blocks at messages.{n}.content for the Ids: {ids}")
        asked = [b["toolUse"]["toolUseId"] for b in message["content"] if "toolUse" in b]


def _check_tools(config: Any, blocks: Sequence[Any]) -> None:
    if config is None:
        if any("toolUse" in block or "toolResult" in block for block in blocks):
            words = "The toolConfig field must be defined when using toolUse and toolResult content"
            raise Invalid(f"{words} blocks.")
        return
    names = [tool["toolSpec"]["name"] for tool in config["tools"] if "toolSpec" in tool]
    chosen = config.get("toolChoice", {}).get("tool", {}).get("name")
    if chosen is not None and chosen not in names:
        raise Invalid(f"The tool {chosen} in toolChoice is not in toolConfig.tools.")


def _check_points(request: Any) -> None:
    blocks = [block for message in request["messages"] for block in message["content"]]
    tools = request.get("toolConfig", {}).get("tools", [])
    points = [b for b in (*tools, *request.get("system", ()), *blocks) if "cachePoint" in b]
    if len(points) > CACHE_POINTS_MAX:
        raise Invalid(f"You can use at most {CACHE_POINTS_MAX} cachePoint blocks in a request.")


def _check_schema(request: Any) -> None:
    text_format = request.get("outputConfig", {}).get("textFormat")
    if text_format is not None:
        try:
            schema = json.loads(text_format["structure"]["jsonSchema"]["schema"])
        except ValueError:
            schema = None
        if not isinstance(schema, dict):
            raise Invalid("The schema in outputConfig.textFormat is no JSON schema.")
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            words = "For 'object' type, 'additionalProperties' must be explicitly set to false"
            raise Invalid(f"output_config.format.schema: {words}")
