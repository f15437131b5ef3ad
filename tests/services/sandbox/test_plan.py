"""Plans: the same request has the same answer, and every cut falls between characters."""

import msgspec
import pytest

from harmost.services.sandbox.knobs import Knobs
from harmost.services.sandbox.plan import Plan, plan
from harmost.services.sandbox.shape import Ask
from harmost.services.sandbox.text import tokens_of


def planned(
    knobs: Knobs | None = None, *, texts: tuple[str, ...] = ("hi",), maximum: int = 100
) -> Plan:
    ask = Ask(
        model="m",
        texts=texts,
        directives=texts,
        output_tokens_max=maximum,
        stream=True,
        usage_asked=True,
    )
    return plan(ask, knobs or Knobs(), attempt_id="a", now_s=0)


def test_the_same_request_has_the_same_answer() -> None:
    assert planned() == planned()
    assert planned().text != planned(texts=("ho",)).text


def test_prompt_tokens_are_counted_once_over_all_texts() -> None:
    assert planned(texts=("abc", "abc")).input_tokens == 2
    assert planned(texts=("你好",)).input_tokens == 2
    assert planned(texts=("",)).input_tokens == 0


def test_lengths_are_drawn_and_stay_below_the_maximum() -> None:
    lengths = [planned(texts=(f"{n}",), maximum=80).output_tokens for n in range(300)]
    assert len(set(lengths)) > 30
    assert max(lengths) == 80
    assert min(lengths) >= 1


def test_a_drawn_length_that_is_cut_says_so() -> None:
    assert planned(Knobs(output_tokens=5), maximum=5).answer.cut is False
    assert planned(Knobs(output_tokens=6), maximum=5).answer.cut is True


@pytest.mark.parametrize("maximum", range(1, 12))
@pytest.mark.parametrize("chunk_tokens", [1, 2, 5])
def test_any_text_is_cut_between_characters(maximum: int, chunk_tokens: int) -> None:
    text = '{"a":"ü你好😀😀x😀"}'
    told = planned(Knobs(json=text, chunk_tokens=chunk_tokens), maximum=maximum)
    pieces = told.pieces()
    assert "".join(piece.decode() for piece in pieces) == told.text.decode()
    assert text.startswith(told.text.decode())
    assert tokens_of(len(told.text)) == told.output_tokens <= maximum
    assert len(pieces) == -(-told.output_tokens // chunk_tokens)


def test_stops_beyond_the_answer_never_come() -> None:
    told = planned(Knobs(output_tokens=5, stall_after=6, break_after=9))
    assert not told.stalls
    assert not told.breaks


def test_the_earlier_stop_wins() -> None:
    told = planned(Knobs(output_tokens=5, stall_after=4, break_after=2))
    assert (told.output_tokens, told.stalls, told.breaks) == (2, False, True)


def test_latencies_are_their_medians_without_a_spread() -> None:
    knobs = Knobs(ttft_ms=20, token_ms=5, chunk_tokens=2, latency_sigma=0, output_tokens=10)
    told = planned(knobs)
    assert (told.ttft_s, told.gap_s) == (0.020, 0.010)
    assert told.time_s() == pytest.approx(0.070)
    spread = [
        planned(msgspec.structs.replace(knobs, latency_sigma=0.5), texts=(f"{n}",)).ttft_s
        for n in range(50)
    ]
    assert min(spread) < 0.020 < max(spread)
