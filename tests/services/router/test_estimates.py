"""What is settled where a provider says nothing: near what it would have said, never above the hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import TOKENIZER_FILE, counter

from harmost.core.chat import Message
from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.estimate import bytes_bound, template_tokens
from harmost.core.tokens.measure import Shape
from harmost.core.usage import TokenUsage
from harmost.services.router.estimates import Estimates
from harmost.services.router.tokenizer import Tokenizer

TEXT = "hello world, how are you today? " * 20
MESSAGES = (Message("user", TEXT),)


def estimates(calibration: Calibration, tokenizer: Tokenizer | None = None) -> Estimates:
    return Estimates(calibration, tokenizer or Tokenizer(), "p", "m", Shape([TEXT]))


async def test_the_next_attempt_expects_what_the_last_one_was_billed() -> None:
    calibration = Calibration()
    for _ in range(50):
        estimates(calibration).learn(
            TokenUsage(input_tokens=300, output_tokens=120, reasoning_output_tokens=20),
            text_bytes=200,
            text_alone=True,
        )
    here = estimates(calibration)
    assert here.input_tokens == pytest.approx(300, rel=0.03)
    assert here.output_tokens(deltas=1, text_bytes=200, output_tokens_max=1_000) == 100


async def test_what_a_providers_own_tools_found_is_not_taken_for_the_text() -> None:
    calibration = Calibration()
    before = estimates(calibration).input_tokens
    for _ in range(20):
        estimates(calibration).learn(
            TokenUsage(input_tokens=600, output_tokens=100), text_bytes=200, text_alone=False
        )
    assert estimates(calibration).input_tokens == before
    here = estimates(calibration)
    assert here.output_tokens(deltas=1, text_bytes=200, output_tokens_max=1_000) == 100


@given(
    deltas=st.integers(0, 50),
    text_bytes=st.integers(0, 100_000),
    cap=st.integers(50, 5_000),
    taught=st.lists(st.tuples(st.integers(0, 10**6), st.integers(-5, 10**9)), max_size=5),
)
def test_an_estimated_answer_is_within_the_cap_that_was_held(
    deltas: int, text_bytes: int, cap: int, taught: list[tuple[int, int]]
) -> None:
    here = estimates(Calibration())
    for size, tokens in taught:
        here.learn(
            TokenUsage(input_tokens=1, output_tokens=tokens), text_bytes=size, text_alone=True
        )
    tokens = here.output_tokens(deltas=deltas, text_bytes=text_bytes, output_tokens_max=cap)
    assert deltas <= tokens <= cap


async def test_a_usage_before_the_end_still_tells_the_input_and_all_its_classes() -> None:
    said = TokenUsage(
        input_tokens=50, cached_input_tokens=40, audio_input_tokens=3, output_tokens=2
    )
    usage = await estimates(Calibration()).usage(
        said, reference="", messages=MESSAGES, output_tokens=9
    )
    assert usage == TokenUsage(
        input_tokens=50,
        cached_input_tokens=40,
        audio_input_tokens=3,
        output_tokens=9,
        exact=False,
    )


async def test_input_is_counted_by_the_models_own_tokenizer_and_learned() -> None:
    tokenizer, calibration = Tokenizer(timeout_s=60), Calibration()
    async with tokenizer.running():
        for _ in range(20):
            usage = await estimates(calibration, tokenizer).usage(
                None,
                reference=f"file:{TOKENIZER_FILE}",
                messages=MESSAGES,
                output_tokens=5,
            )
    counted = counter("deepseek-v4")(TEXT) + template_tokens(1)
    assert usage == TokenUsage(input_tokens=counted, output_tokens=5, exact=False)
    assert estimates(calibration).input_tokens == pytest.approx(counted, rel=0.03)


async def test_input_that_cannot_be_counted_is_estimated() -> None:
    here = estimates(Calibration())
    usage = await here.usage(None, reference="file:/nowhere", messages=MESSAGES, output_tokens=5)
    assert usage.input_tokens == here.input_tokens <= bytes_bound(len(TEXT), 1)
    assert not usage.exact
