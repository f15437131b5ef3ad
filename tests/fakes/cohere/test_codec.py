"""Our codec against the fake that the vendor's client believes."""

import random

import pytest
from official_body import PNG, WEATHER

from fakes.ask import ask
from fakes.cohere import ENVIRONMENT, MODEL, spec
from fakes.cohere.fake import CohereFake
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

CALLS = (Call("c1", "weather", '{"place":"Bern"}'), Call("c2", "weather", "{}"))
ASKED = (
    Message.of("system", "be brief"),
    Message("user", (Text("see"), Media(kind="image", media_type="image/png", data=PNG))),
    Message("assistant", (Reasoning("plan"), ToolCall("c0", "weather", "{}"))),
    Message("tool", (ToolResult("c0", "rain"),)),
    Message("assistant", (Reasoning("hm"), Text("rain"))),
    Message("user", (Text("and "), Media(kind="image", uri="https://example.com/a.png"))),
)
SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}}}'


async def told(fake: CohereFake, *, http2: bool = False, **asked: object):  # type: ignore[no-untyped-def]
    """What our side makes of it."""
    asked = {"messages": ASKED, "model": MODEL, "environment": ENVIRONMENT, **asked}
    async with serving(fake) as url:
        return await ask(spec(url, http2=http2), **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_answers_are_read_however_they_are_cut(seed: int, http2: bool) -> None:
    fake = CohereFake(
        Answer(reasoning="let me see", input_tokens=90, cached_tokens=30, output_tokens=40),
        cuts=random.Random(seed),
    )
    answer = await told(fake, http2=http2, stop=("x",), temperature_permille=700, seed=5)
    assert answer.error is None
    assert answer.parts == (Reasoning("let me see"), Text(fake.answer.text))
    assert answer.finish == "stop"
    assert answer.response_id
    used = answer.usage
    assert (used.input_tokens, used.cached_input_tokens, used.output_tokens) == (90, 30, 40)
    assert used.exact


@pytest.mark.parametrize("mode", ["auto", "none", "required", "named"])
async def test_tools_are_planned_and_called(mode: str) -> None:
    fake = CohereFake(
        Answer(text="", calls=CALLS, reasoning="ask both", finish="tool_calls"),
        cuts=random.Random(7),
    )
    choice = ToolChoice(mode, name="weather" if mode == "named" else "")  # type: ignore[arg-type]
    answer = await told(fake, tools=(WEATHER,), tool_choice=choice)
    assert answer.parts == (
        Reasoning("ask both"),
        *(ToolCall(*call) for call in CALLS),
    )
    assert answer.finish == "tool_calls"


@pytest.mark.parametrize("effort", ["none", "low", "medium", "high"])
async def test_a_schema_and_an_effort_are_taken(effort: str) -> None:
    fake = CohereFake(Answer(reasoning="hm"))
    answer = await told(
        fake, output_schema_json=SCHEMA, reasoning_effort=effort, top_p_permille=1_000
    )
    assert answer.error is None
    assert (Reasoning("hm") in answer.parts) == (effort != "none")


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
async def test_faults_are_named(fault: str, kind: str) -> None:
    answer = await told(CohereFake(fault=fault))  # type: ignore[arg-type]
    assert answer.error is not None
    assert answer.error.kind == kind, answer.error
    assert answer.error.retry_after_s == (7.0 if fault == "throttled" else None)


async def test_an_answer_that_fails_inside_is_told_with_what_it_used() -> None:
    answer = await told(CohereFake(Answer(finish="content_filter")))
    assert answer.error is not None
    assert answer.error.kind == "provider_error"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 21


def test_the_wishes_asked_here_fit() -> None:
    from harmost.core.providers.cohere import CohereCodec

    assert CohereCodec().fit(ASKED, Generation(seed=1, reasoning_effort="low")) == ((), ())
