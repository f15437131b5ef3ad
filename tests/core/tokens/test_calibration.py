"""Estimates follow what providers report, for each model and profile, and stay below the bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.estimate import bytes_bound, estimate_of_bytes
from harmost.core.tokens.fit import ModelFit
from harmost.core.tokens.measure import Shape

HELLO = Shape(["hello world, how are you today? " * 20])
PROSE = Shape(["Das ist ein anderer Text, der laenger ist als jener. " * 20])


def told(reports: int, factor: float, *, profile: str = "p", model: str = "m") -> Calibration:
    calibration = Calibration()
    for _ in range(reports):
        calibration.learn_input(profile, model, HELLO, round(HELLO.tokens * factor))
    return calibration


def test_before_any_report_it_is_the_table() -> None:
    expected = round(ModelFit().tokens(HELLO))
    assert Calibration().input_tokens("p", "m", HELLO) == expected


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5, 2.2])
def test_reports_are_followed(factor: float) -> None:
    expected = HELLO.tokens * factor
    estimated = told(50, factor).input_tokens("p", "m", HELLO)
    assert estimated == pytest.approx(expected, rel=0.03)


def test_another_profile_gains_by_what_the_model_reported() -> None:
    estimated = told(200, 1.5).input_tokens("another", "m", HELLO)
    assert estimated == pytest.approx(HELLO.tokens * 1.5, rel=0.1)


def test_another_model_does_not() -> None:
    untouched = Calibration().input_tokens("p", "another", HELLO)
    assert told(200, 1.5).input_tokens("p", "another", HELLO) == untouched


def test_profiles_of_one_model_are_told_apart() -> None:
    calibration = Calibration()
    for _ in range(100):
        calibration.learn_input("plain", "m", HELLO, HELLO.tokens)
        calibration.learn_input("dense", "m", HELLO, 2 * HELLO.tokens)
    plain, dense = (calibration.input_tokens(name, "m", HELLO) for name in ("plain", "dense"))
    assert plain == pytest.approx(HELLO.tokens, rel=0.1)
    assert dense == pytest.approx(2 * HELLO.tokens, rel=0.1)


@pytest.mark.parametrize("lie", [0, -5, 10**9, 10**18])
def test_what_cannot_be_true_teaches_nothing(lie: int) -> None:
    calibration = Calibration()
    calibration.learn_input("p", "m", HELLO, lie)
    untouched = Calibration().input_tokens("p", "m", HELLO)
    assert calibration.input_tokens("p", "m", HELLO) == untouched


reports = st.lists(st.tuples(st.text(max_size=20), st.integers(1, 200)), max_size=8)


@given(learned=reports, text=st.text(st.characters(codec=None)))
def test_no_reports_lift_an_estimate_above_the_bound(
    learned: list[tuple[str, int]], text: str
) -> None:
    calibration = Calibration()
    for said, tokens in learned:
        calibration.learn_input("p", "m", Shape([said]), tokens)
    shape = Shape([text])
    estimated = calibration.input_tokens("p", "m", shape)
    assert 0 <= estimated <= bytes_bound(shape.utf8_bytes, shape.messages)


def test_answers_are_counted_by_the_bytes_that_their_tokens_had() -> None:
    calibration = Calibration()
    assert calibration.output_tokens("p", "m", 1_000) == estimate_of_bytes(1_000)
    for _ in range(20):
        calibration.learn_output("p", "m", text_bytes=3_000, tokens=2_000)
    assert calibration.output_tokens("p", "m", 1_500) == 1_000
    assert calibration.output_tokens("p", "m", 0) == 0
    assert calibration.output_tokens("another", "m", 1_000) == estimate_of_bytes(1_000)


@pytest.mark.parametrize(("text_bytes", "tokens"), [(31, 10), (0, 5), (1_000, 0), (1_000, -1)])
def test_answers_that_say_nothing_are_passed_over(text_bytes: int, tokens: int) -> None:
    calibration = Calibration()
    calibration.learn_output("p", "m", text_bytes, tokens)
    assert calibration.output_tokens("p", "m", 1_000) == estimate_of_bytes(1_000)


@pytest.mark.parametrize(("tokens", "expected"), [(1, 1_000), (10**9, 16_000)])
def test_a_token_of_an_answer_has_one_to_sixteen_bytes_whatever_is_said(
    tokens: int, expected: int
) -> None:
    calibration = Calibration()
    calibration.learn_output("p", "m", 100_000, tokens)
    assert calibration.output_tokens("p", "m", 16_000) == expected


def test_what_was_used_longest_ago_is_forgotten() -> None:
    calibration = Calibration(models_max=2, profiles_max=2)
    for model in ("a", "b", "a", "c"):
        calibration.learn_input("p", model, HELLO, 2 * HELLO.tokens)
    fresh = Calibration().input_tokens("p", "a", HELLO)
    known = {model: calibration.input_tokens("p", model, HELLO) for model in "abc"}
    assert known["b"] == fresh
    assert known["a"] > fresh
    assert known["c"] > fresh


def test_a_profile_that_is_forgotten_still_has_its_models_fit() -> None:
    calibration = Calibration(profiles_max=1)
    for _ in range(50):
        calibration.learn_input("p", "m", HELLO, 2 * HELLO.tokens)
    calibration.learn_input("q", "m", PROSE, 2 * PROSE.tokens)
    assert calibration.input_tokens("p", "m", HELLO) == pytest.approx(2 * HELLO.tokens, rel=0.1)
