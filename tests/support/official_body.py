"""A codec's request as the vendor's own types read it."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from harmost.core.chat import Generation, Message, Tool
from harmost.core.providers.codec import Codec, UpstreamRequest

__all__ = ["PNG", "WEATHER", "official_body"]

WEATHER = Tool(
    "weather", "of a place", '{"type":"object","properties":{"place":{"type":"string"}}}'
)
PNG = b"\x89PNG\r\n"


def official_body(
    codec: Codec, official: TypeAdapter[Any], messages: Sequence[Message] = (), **generation: Any
) -> dict[str, Any]:
    """The body of a request, which `official` takes, and of which it knows every field."""
    request = codec.request(
        UpstreamRequest(
            vendor_model_id="m",
            messages=messages or (Message.of("user", "hi"),),
            output_tokens_max=50,
            generation=Generation(**generation),
        )
    )
    read: dict[str, Any] = json.loads(request.body)
    official.validate_python(read)
    assert read.keys() <= set(official.json_schema()["properties"])
    return read
