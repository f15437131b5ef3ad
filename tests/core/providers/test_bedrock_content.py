"""What a call says to Converse, held against the vendor's own description of the service."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from bedrock_shapes import problems_of_request
from official_body import PNG, WEATHER

from harmost.core.chat import (
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
from harmost.core.providers.bedrock import BedrockCodec
from harmost.core.providers.codec import Fit, HttpRequest, UpstreamRequest

CODEC = BedrockCodec()
MODEL = "eu.anthropic.claude-opus-4-7-v1:0"
HELLO = (Message.of("user", "hi"),)


def request(
    messages: Sequence[Message] = HELLO,
    *,
    model: str = MODEL,
    service_tier: str = "standard",
    **generation: Any,
) -> HttpRequest:
    return CODEC.request(
        UpstreamRequest(
            vendor_model_id=model,
            messages=messages,
            output_tokens_max=50,
            generation=Generation(**generation),
            service_tier=service_tier,
        )
    )


def body(messages: Sequence[Message] = HELLO, **wishes: Any) -> dict[str, Any]:
    """The body of a request, which the service's description takes."""
    read: dict[str, Any] = json.loads(request(messages, **wishes).body)
    assert problems_of_request("ConverseStream", read, modelId=MODEL) == []
    return read


def content(*parts: Part) -> list[dict[str, Any]]:
    """What the blocks of one message of the user are."""
    blocks: list[dict[str, Any]] = body((Message("user", parts),))["messages"][0]["content"]
    return blocks


def test_the_description_of_the_service_refuses_what_it_does_not_know() -> None:
    for wrong in (
        {"messages": [{"role": "zork", "content": []}]},
        {"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]},
        {"messages": [{"role": "user", "content": [{"toolUse": {"name": "a b"}}]}]},
        {"inferenceConfig": {"temperature": 1.5}},
        {"zork": 1},
    ):
        assert problems_of_request("ConverseStream", wrong, modelId=MODEL) != []


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("amazon.nova-pro-v1:0", "/model/amazon.nova-pro-v1%3A0/converse-stream"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/x.y",
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Fx.y"
            "/converse-stream",
        ),
        ("a/../../b?c=d#e", "/model/a%2F..%2F..%2Fb%3Fc%3Dd%23e/converse-stream"),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    assert request(model=model).path == path


def test_words_limits_and_system() -> None:
    said = body(
        (
            Message.of("system", "be brief"),
            Message.of("user", "hi"),
            Message.of("system", "please"),
        ),
        temperature_permille=700,
        top_p_permille=900,
        stop=("END",),
    )
    assert said == {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "system": [{"text": "be brief"}, {"text": "please"}],
        "inferenceConfig": {
            "maxTokens": 50,
            "temperature": 0.7,
            "topP": 0.9,
            "stopSequences": ["END"],
        },
    }


def test_a_conversation_with_tools_alternates_between_user_and_assistant() -> None:
    said = body(
        (
            Message.of("user", "how is it in Bern?"),
            Message(
                "assistant",
                (
                    Reasoning("hm", b"seal"),
                    Reasoning("", b"aGlkZGVu"),
                    Text("let me see"),
                    ToolCall("c1", "weather", '{"place":"Bern"}'),
                    ToolCall("c2", "weather", ""),
                ),
            ),
            Message("tool", (ToolResult("c1", '{"sky": "rain"}'),)),
            Message("tool", (ToolResult("c2", "{?", is_error=True), ToolResult("c3", ""))),
            Message.of("user", "and?"),
        ),
        tools=(WEATHER,),
    )["messages"]
    assert said == [
        {"role": "user", "content": [{"text": "how is it in Bern?"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "seal"}}},
                {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
                {"text": "let me see"},
                {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"place": "Bern"}}},
                {"toolUse": {"toolUseId": "c2", "name": "weather", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"json": {"sky": "rain"}}]}},
                {"toolResult": {"toolUseId": "c2", "content": [{"text": "{?"}], "status": "error"}},
                {"toolResult": {"toolUseId": "c3", "content": []}},
                {"text": "and?"},
            ],
        },
    ]


def test_ids_of_other_vendors_calls_are_written_in_letters_that_are_taken() -> None:
    long = "call_" + "x" * 90 + "|fc/ä"
    messages = (
        Message("assistant", (ToolCall(long, "weather", "{}"),)),
        Message("tool", (ToolResult(long, "rain"),)),
    )
    asked, answered = body(messages, tools=(WEATHER,))["messages"]
    call_id = asked["content"][0]["toolUse"]["toolUseId"]
    assert call_id == answered["content"][0]["toolResult"]["toolUseId"]
    assert (
        call_id
        != body(
            (Message("assistant", (ToolCall(long + "y", "weather", "{}"),)),), tools=(WEATHER,)
        )["messages"][0]["content"][0]["toolUse"]["toolUseId"]
    )


def test_media_go_inline_or_from_s3() -> None:
    picture = Media(kind="image", media_type="image/png", data=PNG)
    elsewhere = Media(kind="image", media_type="image/jpeg", uri="s3://bucket/a.jpg")
    sound = Media(kind="audio", media_type="audio/wav", data=b"RIFF")
    paper = Media(kind="file", media_type="application/pdf", data=b"%PDF")
    notes = Media(kind="file", media_type="text/plain; charset=utf-8", data=b"notes")
    encoded = b64encode(PNG).decode()
    assert content(Text("see"), picture, elsewhere, sound, paper, notes) == [
        {"text": "see"},
        {"image": {"format": "png", "source": {"bytes": encoded}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}},
        {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}},
        {"document": {"name": "document 1", "format": "pdf", "source": {"bytes": "JVBERg=="}}},
        {"document": {"name": "document 2", "format": "txt", "source": {"bytes": "bm90ZXM="}}},
    ]


@pytest.mark.parametrize(
    ("media", "lack"),
    [
        (Media(kind="image", media_type="image/png", data=PNG), ()),
        (Media(kind="image", media_type="image/tiff", data=PNG), ("image.media_type",)),
        (Media(kind="image", media_type="image/png", uri="https://x/y.png"), ("image.uri",)),
        (Media(kind="file", media_type="application/pdf", file_id="f"), ("file.file_id",)),
        (Media(kind="audio", uri="s3://b/a"), ("audio.media_type",)),
    ],
)
def test_other_media_have_no_form(media: Media, lack: tuple[str, ...]) -> None:
    assert CODEC.fit((Message("user", (media,)),), Generation()) == Fit(lacks=lack)


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (ToolChoice(), {"auto": {}}),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "weather"), {"tool": {"name": "weather"}}),
    ],
)
def test_tools_and_what_is_chosen_of_them(choice: ToolChoice, wire: dict[str, Any]) -> None:
    config = body(tools=(WEATHER, Tool("plain")), tool_choice=choice)["toolConfig"]
    assert config["toolChoice"] == wire
    assert config["tools"] == [
        {
            "toolSpec": {
                "name": "weather",
                "description": "of a place",
                "inputSchema": {
                    "json": {"type": "object", "properties": {"place": {"type": "string"}}}
                },
            }
        },
        {"toolSpec": {"name": "plain", "inputSchema": {"json": {"type": "object"}}}},
    ]


def test_the_choice_of_none_leaves_tools_out_unless_the_conversation_needs_them() -> None:
    none = Generation(tools=(WEATHER,), tool_choice=ToolChoice("none"))
    assert "toolConfig" not in body(tools=none.tools, tool_choice=none.tool_choice)
    assert CODEC.fit(HELLO, none) == Fit()
    called = (
        Message("assistant", (ToolCall("c", "weather", "{}"),)),
        Message("tool", (ToolResult("c", "rain"),)),
    )
    said = body(called, tools=none.tools, tool_choice=none.tool_choice)
    assert said["toolConfig"]["toolChoice"] == {"auto": {}}
    assert CODEC.fit(called, none) == Fit(drops=("tool_choice",))
    assert CODEC.fit(called, Generation()) == Fit(lacks=("tool_call",))


def test_a_schema_and_an_effort() -> None:
    said = body(output_schema_json='{"type":"object"}', reasoning_effort="high")
    assert said["outputConfig"] == {
        "effort": "high",
        "textFormat": {
            "type": "json_schema",
            "structure": {
                "jsonSchema": {
                    "name": "answer",
                    "schema": '{"type":"object","additionalProperties":false}',
                }
            },
        },
    }
    assert said["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    other = body(model="openai.gpt-oss-120b-1:0", reasoning_effort="low")
    assert other["outputConfig"] == {"effort": "low"}
    assert "additionalModelRequestFields" not in other


def test_a_service_tier() -> None:
    assert body(service_tier="flex")["serviceTier"] == {"type": "flex"}
    assert "serviceTier" not in body()


@pytest.mark.parametrize(
    ("wishes", "drops"),
    [
        ({"seed": 7}, ("seed",)),
        ({"temperature_permille": 1000}, ()),
        ({"temperature_permille": 1001}, ("temperature_permille",)),
        ({"reasoning_effort": "none"}, ("reasoning_effort",)),
        (
            {"tools": (WEATHER,), "tool_choice": ToolChoice(one_at_a_time=True)},
            ("tool_choice.one_at_a_time",),
        ),
    ],
)
def test_wishes_without_a_form_are_left_out_and_told(
    wishes: dict[str, Any], drops: tuple[str, ...]
) -> None:
    assert CODEC.fit(HELLO, Generation(**wishes)) == Fit(drops=drops)
    said = body(**wishes)
    assert "temperature" not in said["inferenceConfig"] or not drops
    assert "outputConfig" not in said


@pytest.mark.parametrize("seal", [b"", b"\xff\xfe"])
def test_reasoning_without_a_seal_of_this_vendor_is_left_out_and_told(seal: bytes) -> None:
    messages = (Message("assistant", (Reasoning("hm", seal),)), *HELLO)
    assert CODEC.fit(messages, Generation()) == Fit(drops=("reasoning",))
    assert body(messages)["messages"] == [{"role": "user", "content": [{"text": "hi"}]}]


def test_a_key_is_a_bearer_token() -> None:
    assert CODEC.auth_headers("k") == {"authorization": "Bearer k"}
    assert CODEC.auth_headers("") == {}


def test_marks_are_points_behind_what_they_cover() -> None:
    messages = (
        Message("system", (Text("law", cache="1h"), Text("more"))),
        Message("user", (Text("hi", cache="5m"), Text("there"))),
        Message("assistant", (ToolCall("c", "weather", "{}", cache="5m"),)),
        Message("tool", (ToolResult("c", "rain"),)),
    )
    tools = (Tool("weather", cache="1h"), Tool("plain"))
    said = body(messages, tools=tools)
    hour, five = ({"cachePoint": {"type": "default", **ttl}} for ttl in ({"ttl": "1h"}, {}))
    assert said["system"] == [{"text": "law"}, hour, {"text": "more"}]
    assert said["messages"][0]["content"] == [{"text": "hi"}, five, {"text": "there"}]
    assert said["messages"][1]["content"][1:] == [five]
    assert said["toolConfig"]["tools"][1] == hour
    assert CODEC.fit(messages, Generation(tools=tools)) == Fit()


def test_marks_that_are_too_many_are_left_out_and_told() -> None:
    messages = (Message("user", tuple(Text(str(n), cache="5m") for n in range(5))),)
    assert CODEC.fit(messages, Generation()) == Fit(drops=("cache",))
    blocks = body(messages)["messages"][0]["content"]
    assert [block.get("text", "mark") for block in blocks] == [
        "0", "1", "mark", "2", "mark", "3", "mark", "4", "mark",
    ]  # fmt: skip
