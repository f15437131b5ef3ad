"""What a caller says, as the message that carries it."""

import pytest

from harmost.client import Message, Options, Text, Tool, ToolResult
from harmost.client.request import chat_request
from harmost.router.v1 import router_pb2

FIVE_MINUTES = router_pb2.Cache(ttl=router_pb2.CACHE_TTL_FIVE_MINUTES)
HOUR = router_pb2.Cache(ttl=router_pb2.CACHE_TTL_ONE_HOUR)


def test_marks_stand_on_parts_tools_and_the_end_of_a_message() -> None:
    request = chat_request(
        router_pb2.ChatRequest,
        "p",
        [
            Message("system", "law", cache="1h"),
            Message("user", "a", (Text("b", cache="5m"), Text("c")), cache="1h"),
            Message("tool", parts=(ToolResult("c1", "rain", cache="5m"),)),
        ],
        Options(tools=[Tool("f", cache="1h"), Tool("g")]),
    )
    marked = [
        [part.cache if part.HasField("cache") else None for part in message.parts]
        for message in request.messages
    ]
    assert marked == [[HOUR], [None, FIVE_MINUTES, HOUR], [FIVE_MINUTES]]
    assert [tool.HasField("cache") for tool in request.tools] == [True, False]
    assert request.tools[0].cache == HOUR


def test_a_mark_of_another_time_is_refused() -> None:
    message = Message("user", "a", cache="2h")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cache must be one of 5m, 1h: `2h`"):
        chat_request(router_pb2.ChatRequest, "p", message, Options())
