"""What a request says: every kind of part in its place, and what is wrong is named."""

import json
from typing import Any

import pytest

from harmost.core.chat import (
    Media,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.errors import InvalidInput
from harmost.router.v1 import router_pb2
from harmost.services.router.content import (
    generation_of,
    input_bytes,
    messages_of,
    part_to_bytes,
)

USER = router_pb2.MESSAGE_ROLE_USER
ASSISTANT = router_pb2.MESSAGE_ROLE_ASSISTANT
TOOL = router_pb2.MESSAGE_ROLE_TOOL
Role = router_pb2.MessageRole.ValueType


def request(*parts: router_pb2.Part, role: Role = USER, **fields: Any) -> router_pb2.ChatRequest:
    message = router_pb2.Message(role=role, parts=parts)
    return router_pb2.ChatRequest(profile="p", messages=[message], **fields)


def wrong(request: router_pb2.ChatRequest) -> str:
    with pytest.raises(InvalidInput) as refused:
        messages_of(request)
        generation_of(request)
    (violation,) = refused.value.violations
    return f"{violation.field} {violation.description}"


def test_every_kind_of_part_is_carried() -> None:
    call = router_pb2.ToolCall(call_id="c", name="f", arguments_json="{}")
    reasoning = router_pb2.Reasoning(text="hm", signature=b"seal")
    image = router_pb2.Media(media_type="image/png", data=b"x")
    messages = router_pb2.ChatRequest(
        messages=[
            *request(router_pb2.Part(text="a"), router_pb2.Part(image=image)).messages,
            *request(
                router_pb2.Part(reasoning=reasoning),
                router_pb2.Part(tool_call=call),
                role=ASSISTANT,
            ).messages,
            *request(
                router_pb2.Part(tool_result=router_pb2.ToolResult(call_id="c", content="r")),
                role=TOOL,
            ).messages,
        ]
    )
    assert messages_of(messages) == (
        Message("user", (Text("a"), Media(kind="image", media_type="image/png", data=b"x"))),
        Message("assistant", (Reasoning("hm", b"seal"), ToolCall("c", "f", "{}"))),
        Message("tool", (ToolResult("c", "r"),)),
    )


def hour() -> router_pb2.Cache:
    return router_pb2.Cache(ttl=router_pb2.CACHE_TTL_ONE_HOUR)


def test_marks_are_carried_on_every_part_that_takes_one_and_on_tools() -> None:
    call, result = router_pb2.ToolCall(call_id="c", name="f"), router_pb2.ToolResult(call_id="c")
    image = router_pb2.Media(media_type="image/png", data=b"x")
    asked = router_pb2.ChatRequest(
        messages=[
            *request(
                router_pb2.Part(text="a", cache={}),
                router_pb2.Part(image=image, cache=hour()),
            ).messages,
            *request(router_pb2.Part(tool_call=call, cache=hour()), role=ASSISTANT).messages,
            *request(router_pb2.Part(tool_result=result, cache=hour()), role=TOOL).messages,
        ],
        tools=[
            router_pb2.Tool(name="f", cache={}),
            router_pb2.Tool(name="g", parameters_schema_json="{}", cache=hour()),
        ],
    )
    assert messages_of(asked) == (
        Message(
            "user",
            (
                Text("a", "5m"),
                Media(kind="image", media_type="image/png", data=b"x", cache="1h"),
            ),
        ),
        Message("assistant", (ToolCall("c", "f", "{}", "1h"),)),
        Message("tool", (ToolResult("c", "", cache="1h"),)),
    )
    assert generation_of(asked).tools == (Tool("f", cache="5m"), Tool("g", "", "{}", "1h"))


def test_no_escape_hides_what_arguments_say() -> None:
    call = router_pb2.ToolCall(
        name="f", arguments_json='{"to": "bob\\u0040example.com", "to2": 1e2}'
    )
    (message,) = messages_of(request(router_pb2.Part(tool_call=call), role=ASSISTANT))
    assert list(message.written()) == ["", "f", '{"to":"bob@example.com","to2":100.0}']


@pytest.mark.parametrize(
    "arguments",
    ["[]", "7", "{", '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', "[" * 100_000, "{}{}"],
)
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = router_pb2.ToolCall(name="f", arguments_json=arguments)
    said = wrong(request(router_pb2.Part(tool_call=call), role=ASSISTANT))
    assert said.startswith("messages[0].parts[0].tool_call.arguments_json is no JSON object")


MEDIA = router_pb2.Media(media_type="image/png", data=b"x")


@pytest.mark.parametrize(
    ("part", "role", "field"),
    [
        (
            router_pb2.Part(reasoning={"text": "hm"}, cache={}),
            ASSISTANT,
            "messages[0].parts[0].cache marks reasoning",
        ),
        (
            router_pb2.Part(text=" \n", cache={}),
            USER,
            "messages[0].parts[0].cache marks a text without a word",
        ),
        (router_pb2.Part(cache={}), USER, "messages[0].parts[0] is empty"),
        (router_pb2.Part(image=MEDIA), ASSISTANT, "messages[0].parts[0].image is not said"),
        (router_pb2.Part(tool_call={}), USER, "messages[0].parts[0].tool_call is not said"),
        (router_pb2.Part(reasoning={}), USER, "messages[0].parts[0].reasoning is not said"),
        (router_pb2.Part(tool_result={}), USER, "messages[0].parts[0].tool_result is not said"),
        (router_pb2.Part(text="a"), TOOL, "messages[0].parts[0].text is no result"),
        (router_pb2.Part(), USER, "messages[0].parts[0] is empty"),
        (router_pb2.Part(image={}), USER, "messages[0].parts[0].image has no source"),
        (
            router_pb2.Part(image=router_pb2.Media(data=b"x")),
            USER,
            "messages[0].parts[0].image.media_type is empty",
        ),
        (
            router_pb2.Part(file=router_pb2.Media(uri="file:///etc/passwd")),
            USER,
            "messages[0].parts[0].file.uri is no https address",
        ),
    ],
)
def test_a_part_out_of_place_is_named(part: router_pb2.Part, role: Role, field: str) -> None:
    assert wrong(request(part, role=role)).startswith(field)


def choice(mode: str, **fields: Any) -> router_pb2.ToolChoice:
    value = router_pb2.ToolChoiceMode.Value(f"TOOL_CHOICE_MODE_{mode}")
    return router_pb2.ToolChoice(mode=value, **fields)


def test_tools_and_wishes_become_a_generation() -> None:
    asked = request(
        router_pb2.Part(text="a"),
        tools=[
            router_pb2.Tool(name="f", description="d", parameters_schema_json='{ "type":"object"}'),
            router_pb2.Tool(name="g"),
        ],
        tool_choice=choice("NAMED", name="g", one_at_a_time=True),
        generation=router_pb2.Generation(
            output_schema_json='{"type": "object"}',
            reasoning_effort=router_pb2.REASONING_EFFORT_HIGH,
        ),
    )
    generation = generation_of(asked)
    assert generation.tools == (Tool("f", "d", '{"type":"object"}'), Tool("g"))
    assert generation.tool_choice == ToolChoice("named", "g", True)
    assert json.loads(generation.output_schema_json) == {"type": "object"}
    assert generation.reasoning_effort == "high"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("UNSPECIFIED", "auto"), ("AUTO", "auto"), ("NONE", "none"), ("REQUIRED", "required")],
)
def test_choices(mode: str, expected: str) -> None:
    tools = [router_pb2.Tool(name="f")]
    asked = request(router_pb2.Part(text="a"), tools=tools, tool_choice=choice(mode))
    assert generation_of(asked).tool_choice == ToolChoice(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tool_choice": choice("REQUIRED")}, "tool_choice.mode"),
        ({"tool_choice": choice("NAMED", name="x")}, "tool_choice.name"),
        (
            {"tools": [router_pb2.Tool(name="f", parameters_schema_json="[]")]},
            "tools[0].parameters_schema_json",
        ),
        (
            {"generation": router_pb2.Generation(output_schema_json="no")},
            "generation.output_schema_json",
        ),
    ],
)
def test_a_wish_that_makes_no_sense_is_named(fields: dict[str, Any], field: str) -> None:
    assert wrong(request(router_pb2.Part(text="a"), **fields)).startswith(field)


def test_data_and_tools_count_as_input() -> None:
    words = request(router_pb2.Part(text="é"))
    assert input_bytes(words) == 2
    picture = request(router_pb2.Part(text="é"), router_pb2.Part(image=MEDIA))
    assert input_bytes(picture) > 2 + len(MEDIA.data)
    tools = [router_pb2.Tool(name="f", description="x" * 100)]
    assert input_bytes(request(router_pb2.Part(text="é"), tools=tools)) > 102


def test_an_answer_holds_words_calls_and_reasoning() -> None:
    parts = [Text("a"), ToolCall("c", "f", "{}"), Reasoning("hm", b"s")]
    assert [router_pb2.Part.FromString(part_to_bytes(part)) for part in parts] == [
        router_pb2.Part(text="a"),
        router_pb2.Part(tool_call={"call_id": "c", "name": "f", "arguments_json": "{}"}),
        router_pb2.Part(reasoning={"text": "hm", "signature": b"s"}),
    ]
    with pytest.raises(TypeError):
        part_to_bytes(ToolResult("c", "r"))
