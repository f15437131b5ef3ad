"""Our codec with the quirks of each example against the server that it is of; and each quirk is needed."""

import random
from typing import Any

import msgspec
import pytest
from official_body import PNG, WEATHER

from fakes.ask import Told, ask
from fakes.compatible import ENVIRONMENT, FLAVOURS, CompatibleFake, quirks_of, spec
from fakes.serve import Answer, Call, serving
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
from harmost.core.providers.compatible import CompatibleCodec
from harmost.core.providers.registry import codec_of
from harmost.core.resources.quirks import Quirks

CALLS = (Call("abcdefgh1", "weather", '{"place":"Bern"}'), Call("abcdefgh2", "weather", "{}"))
ASKED = (
    Message.of("system", "be brief"),
    Message("user", (Text("see"), Media(kind="image", media_type="image/png", data=PNG))),
    Message("assistant", (Reasoning("plan"), ToolCall("call_0", "weather", "{}"))),
    Message("tool", (ToolResult("call_0", "rain"),)),
)
SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}}}'
PICTURE = Message("user", (Media(kind="image", uri="https://example.com/a.png"),))


async def told(fake: CompatibleFake, quirks: Quirks | None = None, **asked: Any) -> Told:
    """What our side makes of it, with the quirks that we ship unless `quirks` says others."""
    changes = {} if quirks is None else {"quirks": quirks}
    http2 = asked.pop("http2", False)
    asked = {"messages": ASKED, "environment": ENVIRONMENT, **asked}
    async with serving(fake) as url:
        return await ask(spec(url, flavour=fake.name, http2=http2, **changes), **asked)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("name", FLAVOURS)
async def test_answers_are_read_however_they_are_cut(name: str, http2: bool) -> None:
    fake = CompatibleFake(
        Answer(reasoning="let me see", cached_tokens=30, output_tokens=40, reasoning_tokens=5),
        cuts=random.Random(name),
        name=name,
    )
    answer = await told(
        fake, http2=http2, seed=5, temperature_permille=700, reasoning_effort="high"
    )
    assert answer.error is None, answer.error
    assert answer.parts == (Reasoning("let me see"), Text(fake.answer.text))
    used = answer.usage
    assert used is not None
    assert used.exact
    assert (used.input_tokens, used.cached_input_tokens) == (110, 30)
    assert (used.output_tokens, used.reasoning_output_tokens) == (40, 5)
    assert answer.finish == "stop"
    assert not fake.seen[0].json.keys() & set(fake.flavour.ignored)


@pytest.mark.parametrize("name", FLAVOURS)
async def test_tools_are_called_as_far_as_can_be_chosen(name: str) -> None:
    fake = CompatibleFake(Answer(text="", calls=CALLS, finish="tool_calls"), name=name)
    for mode in ("auto", "none", "required", "named"):
        choice = ToolChoice(mode, "weather" if mode == "named" else "", one_at_a_time=True)
        generation = Generation(tools=(WEATHER,), tool_choice=choice)
        if codec_of(spec("", flavour=name)).fit(ASKED, generation).lacks:
            continue
        answer = await told(fake, tools=(WEATHER,), tool_choice=choice)
        assert answer.parts == tuple(ToolCall(*call) for call in CALLS), (mode, answer.error)
        assert not fake.seen[-1].json.keys() & set(fake.flavour.ignored)


@pytest.mark.parametrize("name", FLAVOURS)
async def test_no_reasoning_is_what_each_understands_by_it(name: str) -> None:
    fake = CompatibleFake(Answer(reasoning="hm"), name=name)
    answer = await told(fake, reasoning_effort="none")
    assert answer.parts == (Text(fake.answer.text),)


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
        ("cut", "broken"),
        ("garbage", "broken"),
    ],
)
@pytest.mark.parametrize("name", FLAVOURS)
async def test_faults_are_named(name: str, fault: str, kind: str) -> None:
    answer = await told(CompatibleFake(fault=fault, name=name))  # type: ignore[arg-type]
    assert answer.error is not None
    assert answer.error.kind == kind, answer.error
    assert answer.error.retry_after_s == (7.0 if fault == "throttled" else None)


async def test_a_silent_server_is_stalled() -> None:
    answer = await told(CompatibleFake(fault="stall"))
    assert answer.error is not None
    assert answer.error.kind == "stalled"


# What is asked, by the quirk without which the server refuses it, or heeds it not.
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("mistral", "output_tokens"): {},
    ("mistral", "seed"): {"seed": 5},
    ("mistral", "stream_options"): {},
    ("mistral", "temperature_permille_max"): {"temperature_permille": 1_600},
    ("mistral", "tool_call_ids"): {},
    ("together", "output_tokens"): {},
    ("llamacpp", "output_tokens"): {},
    ("llamacpp", "tool_choice"): {
        "tools": (WEATHER,),
        "tool_choice": ToolChoice("named", "weather"),
    },
    ("llamacpp", "reasoning_effort"): {"reasoning_effort": "none"},
    ("vllm", "reasoning_effort"): {"reasoning_effort": "none"},
    ("ollama", "output_tokens"): {},
    ("ollama", "tool_choice"): {"tools": (WEATHER,), "tool_choice": ToolChoice("none")},
    ("ollama", "parallel_tool_calls"): {
        "tools": (WEATHER,),
        "tool_choice": ToolChoice(one_at_a_time=True),
    },
    ("deepseek", "output_tokens"): {},
    ("deepseek", "seed"): {"seed": 5},
    ("deepseek", "parallel_tool_calls"): {
        "tools": (WEATHER,),
        "tool_choice": ToolChoice(one_at_a_time=True),
    },
    ("deepseek", "reasoning_effort"): {"reasoning_effort": "none"},
    ("deepseek", "reasoning_back"): {},
    ("openrouter", "output_tokens"): {},
    ("openrouter", "reasoning_effort"): {"reasoning_effort": "none"},
}


def _heeded(fake: CompatibleFake, answer: Told) -> bool:
    return answer.error is None and not fake.seen[-1].json.keys() & set(fake.flavour.ignored)


@pytest.mark.parametrize(("name", "quirk"), NEEDED)
async def test_a_quirk_is_needed(name: str, quirk: str) -> None:
    fake, asked = CompatibleFake(name=name), NEEDED[name, quirk]
    assert _heeded(fake, await told(fake, **asked))
    without = msgspec.structs.replace(quirks_of(name), **{quirk: getattr(Quirks(), quirk)})
    assert not _heeded(fake, await told(fake, without, **asked))


# What has no form there is no candidate; without the quirk the server would refuse the request.
LACKED: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("groq", "stop_max"): ({"stop": tuple("abcde")}, "stop of more than 4"),
    ("xai", "stop_max"): ({"stop": ("a",)}, "stop of more than 0"),
    ("deepseek", "schema"): ({"output_schema_json": SCHEMA}, "output_schema_json"),
    ("ollama", "image_urls"): ({"messages": (PICTURE,)}, "image.uri"),
}


@pytest.mark.parametrize(("name", "quirk"), LACKED)
async def test_what_a_server_would_refuse_has_no_form(name: str, quirk: str) -> None:
    asked, lack = LACKED[name, quirk]
    wishes = {field: value for field, value in asked.items() if field != "messages"}
    messages = asked.get("messages", ASKED)
    codec = codec_of(spec("", flavour=name))
    assert codec.fit(messages, Generation(**wishes)).lacks == (lack,)
    without = msgspec.structs.replace(quirks_of(name), **{quirk: getattr(Quirks(), quirk)})
    assert not codec_of(spec("", quirks=without)).fit(messages, Generation(**wishes)).lacks
    answer = await told(CompatibleFake(name=name), without, **asked)
    assert answer.error is not None
    assert answer.error.kind == "rejected"


def test_every_quirk_that_we_ship_is_tried() -> None:
    shipped = {
        (name, field)
        for name in FLAVOURS
        for field, value in msgspec.structs.asdict(quirks_of(name)).items()
        if value != getattr(Quirks(), field)
    }
    # OpenRouter takes reasoning again, and answers without it.
    assert shipped - {("openrouter", "reasoning_back")} == NEEDED.keys() | LACKED.keys()


@pytest.mark.parametrize(
    ("quirks", "asked", "drops"),
    [
        (Quirks(seed=""), {"seed": 1}, ("reasoning", "seed")),
        (
            Quirks(temperature_permille_max=1_500),
            {"temperature_permille": 1_501},
            ("reasoning", "temperature_permille"),
        ),
        (
            Quirks(reasoning_effort=""),
            {"reasoning_effort": "low"},
            ("reasoning", "reasoning_effort"),
        ),
        (
            Quirks(reasoning_effort="template"),
            {"reasoning_effort": "low"},
            ("reasoning", "the degree of reasoning_effort"),
        ),
        (Quirks(reasoning_effort="template"), {"reasoning_effort": "high"}, ("reasoning",)),
        (Quirks(reasoning_back="reasoning"), {}, ()),
        (
            Quirks(parallel_tool_calls=False),
            {"tools": (WEATHER,), "tool_choice": ToolChoice(one_at_a_time=True)},
            ("reasoning", "tool_choice.one_at_a_time"),
        ),
    ],
)
def test_wishes_that_are_not_taken_are_told(
    quirks: Quirks, asked: dict[str, Any], drops: tuple[str, ...]
) -> None:
    assert CompatibleCodec(quirks).fit(ASKED, Generation(**asked)).drops == drops


@pytest.mark.parametrize(("mode", "lacks"), [("required", ("tool_choice.required",)), ("auto", ())])
def test_a_choice_that_is_not_heeded_has_no_form(mode: str, lacks: tuple[str, ...]) -> None:
    generation = Generation(tools=(WEATHER,), tool_choice=ToolChoice(mode))  # type: ignore[arg-type]
    assert CompatibleCodec(Quirks(tool_choice=())).fit(ASKED, generation).lacks == lacks


async def test_reasoning_goes_back_where_it_is_taken() -> None:
    fake = CompatibleFake(name="openrouter")
    await told(fake)
    assert fake.seen[0].json["messages"][2]["reasoning"] == "plan"


@pytest.mark.parametrize(
    ("finish", "kind"),
    [("model_length", ""), ("insufficient_system_resource", "overloaded"), ("error", "broken")],
)
def test_reasons_of_their_own_are_understood(finish: str, kind: str) -> None:
    reader = CompatibleCodec(Quirks()).reader()
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    events = reader.take(msgspec.json.encode(chunk)) + reader.take(b"[DONE]")
    assert getattr(events[-1], "kind", "") == kind
    assert getattr(events[-1], "finish_reason", "length") == "length"
