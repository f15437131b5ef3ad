"""Knobs: who may turn them, which wins, and what a wrong one hears."""

import pytest

from harmost.services.sandbox.knobs import KnobError, Knobs, from_environment, from_request


def told(*texts: str, **headers: str) -> Knobs:
    named = {f"X-Sandbox-{name.replace('_', '-')}": value for name, value in headers.items()}
    return from_request(Knobs(), named, texts)


def test_nothing_told_is_the_default() -> None:
    assert told("hello") == Knobs()


def test_a_directive_turns_several_knobs() -> None:
    knobs = told("hello [[sandbox output_tokens=40  chunk_tokens=3\tno_usage]] there")
    assert (knobs.output_tokens, knobs.chunk_tokens, knobs.no_usage) == (40, 3, True)


def test_the_text_wins_over_the_header_and_a_later_text_over_an_earlier() -> None:
    assert told(output_tokens="1").output_tokens == 1
    assert told("[[sandbox output_tokens=2]]", output_tokens="1").output_tokens == 2
    assert told("[[sandbox output_tokens=2]]", "[[sandbox output_tokens=3]]").output_tokens == 3


def test_a_text_may_hold_several_directives() -> None:
    knobs = told("[[sandbox output_tokens=2]] and [[sandbox fail=500]]")
    assert (knobs.output_tokens, knobs.fail) == (2, 500)


def test_the_environment_sets_defaults() -> None:
    defaults = from_environment({"HARMOST_SANDBOX_TTFT_MS": "7", "PATH": "/bin"})
    assert defaults == Knobs(ttft_ms=7)
    assert from_request(defaults, {}, ["[[sandbox fail=500]]"]) == Knobs(ttft_ms=7, fail=500)


def test_json_ends_where_its_object_ends() -> None:
    knobs = told('[[sandbox json={"a":[[1]],"b":"]] x"} fail=500]]')
    assert (knobs.json, knobs.fail) == ('{"a":[[1]],"b":"]] x"}', 500)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("+5", (5, 1.0)), ("-5", (-5, 1.0)), ("2", (0, 2.0)), ("x0.5", (0, 0.5))],
)
def test_a_lie_is_a_difference_or_a_factor(value: str, expected: tuple[int, float]) -> None:
    assert told(f"[[sandbox lie_usage={value}]]").lie_usage == expected


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("zork=1", "no knob is called `zork`: use one of output_tokens"),
        ("output_tokens=x", "knob `output_tokens` does not take `x`"),
        ("output_tokens=-1", "knob `output_tokens` does not take `-1`: must be in 0..1000000"),
        ("output_tokens", "knob `output_tokens` does not take ``"),
        ("fail=200", "must be in 400..599"),
        ("token_ms=nan", "must be in 0..600000"),
        ("ttft_ms=inf", "must be in 0..600000"),
        ("garbage=zork", "must be `bytes`, `error` or `types`"),
        ("no_usage=maybe", "must be true or false"),
        ("json=[1]", "must be a JSON object"),
        ("json={", "knob `json` is no JSON"),
        ("chunk_tokens=0", "must be in 1..1000000"),
    ],
)
def test_a_wrong_knob_hears_what_is_right(directive: str, message: str) -> None:
    with pytest.raises(KnobError) as caught:
        told(f"[[sandbox {directive}]]")
    assert message in str(caught.value)


def test_a_directive_must_be_closed() -> None:
    with pytest.raises(KnobError, match="not closed: end it with"):
        told("[[sandbox output_tokens=1")
