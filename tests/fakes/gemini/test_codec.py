"""Our side of AI Studio and Vertex: what a call says, what comes back, how each failure is called."""

import random
from types import ModuleType

import pytest
from official_body import PNG, WEATHER

import fakes.gemini
import fakes.vertex
from fakes.ask import HELLO, Told, ask
from fakes.gemini.fake import SIGNATURE, GeminiFake
from fakes.serve import Answer, Call, Fault, serving
from harmost.core.chat import Media, Message, Reasoning, Text, ToolCall, ToolChoice, ToolResult
from harmost.core.usage import TokenUsage

MODEL = fakes.gemini.MODEL
SEAL = b"gemini:" + SIGNATURE.encode()
both = pytest.mark.parametrize("vendor", [fakes.gemini, fakes.vertex], ids=["studio", "vertex"])


async def told_by(
    vendor: ModuleType,
    fake: GeminiFake,
    messages: tuple[Message, ...] = HELLO,
    *,
    http2: bool = False,
    model: str = MODEL,
    **generation: object,
) -> Told:
    async with serving(fake) as url:
        return await ask(
            vendor.spec(url, http2=http2),
            messages,
            model=model,
            environment=vendor.ENVIRONMENT,
            **generation,  # type: ignore[arg-type]
        )


@both
@pytest.mark.parametrize("http2", [False, True])
async def test_words_come_with_their_usage_however_they_are_cut(
    vendor: ModuleType, http2: bool
) -> None:
    answer = Answer(cached_tokens=7, reasoning_tokens=3, finish="length")
    fake = vendor.FAKE(answer=answer, cuts=random.Random(http2))
    told = await told_by(vendor, fake, http2=http2)
    assert (told.parts, told.finish, told.error) == ((Text(answer.text),), "length", None)
    assert told.usage == TokenUsage(
        input_tokens=110,
        cached_input_tokens=7,
        output_tokens=21,
        reasoning_output_tokens=3,
        exact=True,
    )
    assert told.response_id == "r1"
    assert fake.seen[0].http_version == ("2" if http2 else "1.1")


@both
async def test_calls_with_their_seal_go_round(vendor: ModuleType) -> None:
    calls = (Call("c1", "weather", '{"place":"Bern"}'), Call("c2", "weather", "{}"))
    fake = vendor.FAKE(
        answer=Answer(text="", calls=calls, reasoning="hm", finish="tool_calls"),
        cuts=random.Random(1),
    )
    told = await told_by(vendor, fake, tools=(WEATHER,))
    assert told.finish == "tool_calls"
    assert told.parts == (
        Reasoning("hm", SEAL),
        ToolCall("c1", "weather", '{"place": "Bern"}'),
        ToolCall("c2", "weather", "{}"),
    )
    fake.answer = Answer()
    turns = (
        *HELLO,
        Message("assistant", told.parts),
        Message("tool", (ToolResult("c1", "rain"),)),
        Message("tool", (ToolResult("c2", "no place", is_error=True),)),
    )
    again = await told_by(vendor, fake, turns, tools=(WEATHER,))
    assert again.parts == (Text(fake.answer.text),)
    assert fake.seen[1].json["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {
                    "functionCall": {"id": "c1", "name": "weather", "args": {"place": "Bern"}},
                    "thoughtSignature": SIGNATURE,
                },
                {"functionCall": {"id": "c2", "name": "weather", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": i, "name": "weather", "response": r}}
                for i, r in (("c1", {"output": "rain"}), ("c2", {"error": "no place"}))
            ],
        },
    ]


@both
async def test_a_call_of_another_vendor_is_taken_by_a_model_that_wants_seals(
    vendor: ModuleType,
) -> None:
    turns = (
        *HELLO,
        Message("assistant", (Reasoning("hm", b"theirs"), ToolCall("c", "weather", "{}"))),
        Message("tool", (ToolResult("c", "rain"),)),
    )
    for model in (MODEL, "gemini-2.5-pro"):
        told = await told_by(vendor, vendor.FAKE(), turns, model=model, tools=(WEATHER,))
        assert told.error is None, told.error


@both
async def test_everything_that_a_call_can_say_is_understood(vendor: ModuleType) -> None:
    fake = vendor.FAKE(answer=Answer(text='{"a":1}', reasoning="hm", reasoning_tokens=5))
    see = Message(
        "user",
        (
            Text("see"),
            Media(kind="image", media_type="image/png", data=PNG),
            Media(kind="file", media_type="application/pdf", uri="https://example.com/a.pdf"),
        ),
    )
    told = await told_by(
        vendor,
        fake,
        (Message.of("system", "be brief"), see),
        temperature_permille=500,
        top_p_permille=900,
        stop=("x",),
        seed=7,
        reasoning_effort="low",
        output_schema_json='{"type":"object"}',
        tools=(WEATHER,),
        tool_choice=ToolChoice("named", "weather"),
    )
    assert told.error is None, told.error
    assert told.parts == (Reasoning("hm"), Text('{"a":1}'), Reasoning("", SEAL))
    assert told.usage is not None
    assert (told.usage.output_tokens, told.usage.reasoning_output_tokens) == (21, 5)
    assert fake.seen[0].json["generationConfig"] == {
        "maxOutputTokens": 1_000,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["x"],
        "seed": 7,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    }


@pytest.mark.parametrize("http2", [False, True])
@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("bad_request", "rejected"),
        ("unauthorized", "auth"),
        ("not_found", "not_found"),
        ("throttled", "throttled"),
        ("quota", "quota_exhausted"),
        ("server_error", "provider_error"),
        ("overloaded", "overloaded"),
        ("timeout", "timeout"),
        ("context_too_long", "context_too_long"),
        ("filtered", "content_filtered"),
        ("stall", "stalled"),
        ("cut", "broken"),
        ("garbage", "broken"),
    ],
)
async def test_a_fault_has_its_kind(
    vendor: ModuleType, fault: Fault, kind: str, http2: bool
) -> None:
    fake = vendor.FAKE(fault=fault)
    told = await told_by(vendor, fake, http2=http2)
    assert told.error is not None
    assert told.error.kind == kind, told.error
    if fault == "throttled":
        assert told.error.retry_after_s == (None if "throttled" in vendor.UNOFFERED else 7)
    for secret in vendor.ENVIRONMENT.values():
        assert secret not in told.error.message


@both
async def test_a_wrong_key_is_told_apart_from_a_wrong_request(vendor: ModuleType) -> None:
    async with serving(vendor.FAKE()) as url:
        for key in ("", "wrong"):
            environment = dict.fromkeys(vendor.ENVIRONMENT, key)
            told = await ask(vendor.spec(url), model=MODEL, environment=environment)
            assert told.error is not None
            assert told.error.kind == "auth", told.error
