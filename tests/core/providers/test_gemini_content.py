"""What a call says in Google's form. The fakes check its fields; here is what they mean."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from official_body import PNG, WEATHER

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.errors import InvalidInput
from harmost.core.providers.codec import Fit, UpstreamRequest
from harmost.core.providers.gemini import GeminiCodec
from harmost.core.providers.registry import codec_of
from harmost.core.resources.kinds import ProviderSpec

STUDIO = GeminiCodec(files_url="https://example.com/v1beta")
VERTEX = GeminiCodec(vertex=True)
HI = (Message.of("user", "hi"),)


def body(
    messages: Sequence[Message] = HI, *, model: str = "gemini-3-pro", **generation: Any
) -> dict[str, Any]:
    request = UpstreamRequest(
        vendor_model_id=model,
        messages=messages,
        output_tokens_max=50,
        generation=Generation(**generation),
    )
    said: dict[str, Any] = json.loads(STUDIO.request(request).body)
    return said


def said(*parts: Any, model: str = "gemini-3-pro") -> Any:
    """The parts of what the model is told that it said."""
    contents = body((*HI, Message("assistant", parts)), model=model)["contents"]
    return contents[1]["parts"] if len(contents) > 1 else None


def test_a_model_is_named_in_the_path() -> None:
    request = UpstreamRequest(vendor_model_id="a/b c", messages=HI, output_tokens_max=1)
    path = "/models/a%2Fb%20c:streamGenerateContent?alt=sse"
    assert STUDIO.request(request).path == path


def test_system_messages_are_one_instruction() -> None:
    messages = (Message.of("system", "a"), *HI, Message.of("system", "b"))
    assert body(messages) == {
        "systemInstruction": {"parts": [{"text": "a\n\nb"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 50},
    }


def test_media_go_inline_by_address_or_by_the_name_of_a_file() -> None:
    parts = (
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="audio", uri="https://example.com/a.wav"),
        Media(kind="file", media_type="application/pdf", file_id="files/a"),
    )
    assert body((Message("user", parts),))["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0K"}},
        {"fileData": {"fileUri": "https://example.com/a.wav"}},
        {
            "fileData": {
                "mimeType": "application/pdf",
                "fileUri": "https://example.com/v1beta/files/a",
            }
        },
    ]
    message = (Message("user", parts),)
    assert STUDIO.fit(message, Generation()) == Fit()
    assert VERTEX.fit(message, Generation()) == Fit(lacks=("audio.media_type", "file.file_id"))


def test_a_seal_goes_back_where_it_was() -> None:
    assert said(
        Reasoning("hm", b"gemini:QQ=="),
        ToolCall("c", "now", ""),
        Reasoning("", b"gemini:Qg=="),
        Text("so"),
        Reasoning("ah", b"gemini:Qw=="),
    ) == [
        {"text": "hm", "thought": True},
        {"functionCall": {"id": "c", "name": "now", "args": {}}, "thoughtSignature": "QQ=="},
        {"text": "so", "thoughtSignature": "Qg=="},
        {"text": "ah", "thought": True},
        {"text": "", "thoughtSignature": "Qw=="},
    ]


def test_two_seals_in_a_row_are_both_kept() -> None:
    assert said(Reasoning("", b"gemini:QQ=="), Reasoning("", b"gemini:Qg=="), Text("a")) == [
        {"text": "", "thoughtSignature": "QQ=="},
        {"text": "a", "thoughtSignature": "Qg=="},
    ]


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-4-argon", "gemini-2.5-pro"])
def test_the_first_call_that_bears_no_seal_is_marked_where_one_is_wanted(model: str) -> None:
    one, two = said(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"), model=model)
    wanted = None if model == "gemini-2.5-pro" else "skip_thought_signature_validator"
    assert (one.get("thoughtSignature"), two.get("thoughtSignature")) == (wanted, None)


def test_reasoning_of_others_is_left_out_and_told() -> None:
    for reasoning in (Reasoning("hm"), Reasoning("hm", b"theirs")):
        assert said(reasoning, Text("a")) == [{"text": "a"}]
        assert said(reasoning) is None
        message = Message("assistant", (reasoning, Text("a")))
        assert STUDIO.fit((message,), Generation()) == Fit(drops=("reasoning",))
    ours = Message("assistant", (Reasoning("hm"), Text("a"), Reasoning("", b"gemini:QQ==")))
    assert STUDIO.fit((ours,), Generation()) == Fit()


def test_a_result_is_named_by_the_call_that_its_id_meant_last() -> None:
    turns = [
        Message("assistant", (ToolCall("c", "old", "{}"),)),
        Message("tool", (ToolResult("c", "1"),)),
        Message("assistant", (ToolCall("c", "new", "{}"),)),
        Message("tool", (ToolResult("c", "2"),)),
    ]
    results = [content["parts"][0] for content in body((*HI, *turns))["contents"][2::2]]
    assert [one["functionResponse"]["name"] for one in results] == ["old", "new"]


def test_a_result_of_no_call_has_no_form() -> None:
    assert STUDIO.fit((Message("tool", (ToolResult("c", "1"),)),), Generation()) == Fit(
        lacks=("tool_result.call_id",)
    )


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice(), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_tools_are_offered(choice: ToolChoice, config: object) -> None:
    asked = body(tools=(WEATHER,), tool_choice=choice)
    schema = json.loads(WEATHER.parameters_schema_json)
    declared = {"name": "weather", "description": "of a place", "parametersJsonSchema": schema}
    assert asked["tools"] == [{"functionDeclarations": [declared]}]
    assert asked["toolConfig"] == {"functionCallingConfig": config}


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-pro", "medium", {"includeThoughts": True, "thinkingBudget": 8192}),
        ("gemini-3-flash", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro", "none", {"thinkingLevel": "LOW"}),
        ("gemini-3-pro", "high", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
    ],
)
def test_an_effort_is_a_budget_or_a_level(model: str, effort: str, config: object) -> None:
    asked = body(model=model, reasoning_effort=effort)
    assert asked["generationConfig"]["thinkingConfig"] == config


def test_what_there_is_no_form_for_is_left_out_and_told() -> None:
    wishes: dict[str, Any] = {
        "seed": 2**31,
        "stop": tuple("abcdef"),
        "tools": (WEATHER,),
        "tool_choice": ToolChoice(one_at_a_time=True),
    }
    config = body(**wishes)["generationConfig"]
    assert config == {"maxOutputTokens": 50, "stopSequences": list("abcde")}
    assert STUDIO.fit(HI, Generation(**wishes)) == Fit(
        drops=("seed", "stop", "tool_choice.one_at_a_time")
    )
    marked = (Message("user", (Text("hi", cache="5m"),)),)
    assert STUDIO.fit(marked, Generation()) == Fit(drops=("cache",))
    assert STUDIO.fit(HI, Generation(seed=-(2**31), stop=tuple("abcde"))) == Fit()


def test_the_address_says_whose_credentials_are_sent() -> None:
    base = "https://europe-west6-aiplatform.googleapis.com/v1/projects/p/locations/l"
    for url, headers in (
        ("https://generativelanguage.googleapis.com/v1beta", {"x-goog-api-key": "k"}),
        (f"{base}/publishers/google", {"authorization": "Bearer k"}),
    ):
        codec = codec_of(ProviderSpec(codec="gemini", base_url=url))
        assert codec.auth_headers("k") == headers
        assert codec.auth_headers("") == {}


def test_a_version_is_part_of_the_address() -> None:
    with pytest.raises(InvalidInput, match="base_url"):
        codec_of(ProviderSpec(codec="gemini", base_url="", api_version="v1"))
