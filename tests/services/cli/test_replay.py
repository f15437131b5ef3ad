"""Replay without a mesh: what is played, how it is counted, when the proof holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from harmost.client import (
    AsyncClient,
    Attempt,
    Decision,
    Finished,
    PolicyDenied,
    Started,
    TokenUsage,
)
from harmost.core.errors import InvalidInput
from harmost.core.trace.arrival import Arrival
from harmost.services.cli.replay.plan import Planned, Weighted, mix_of, plan, prompt
from harmost.services.cli.replay.player import Player
from harmost.services.cli.replay.proof import Line, compare
from harmost.services.cli.replay.tally import quantile


@pytest.mark.parametrize("tokens", [30, 31, 374, 14_050])
def test_a_prompt_is_as_long_as_the_trace_says(tokens: int) -> None:
    text = prompt(Planned(0, "p", "", tokens, 44), chunk_tokens=16)
    assert len(text.encode()) == 4 * tokens
    assert text.endswith("[[sandbox output_tokens=44 chunk_tokens=16 ttft_ms=0 token_ms=0]]")


def test_a_prompt_is_never_shorter_than_its_directive() -> None:
    assert prompt(Planned(0, "p", "", 2, 44), chunk_tokens=16).startswith("[[sandbox ")


def test_time_is_compressed_and_what_the_trace_names_is_kept() -> None:
    arrivals = [Arrival(0, 1, 2), Arrival(10_000_000_000, 3, 4, "acme/x", "named")]
    calls = list(plan(arrivals, speed=4, mix=[Weighted("drawn", 1)]))
    assert calls == [Planned(0, "drawn", "", 1, 2), Planned(2_500_000_000, "named", "acme/x", 3, 4)]


def test_profiles_are_drawn_by_weight_and_always_alike() -> None:
    arrivals = [Arrival(0, 1, 1)] * 1_000
    mix = [Weighted("a", 9), Weighted("b", 1)]
    drawn = [call.profile for call in plan(arrivals, speed=1, mix=mix)]
    assert drawn == [call.profile for call in plan(arrivals, speed=1, mix=mix)]
    assert 850 < drawn.count("a") < 950


def test_mix_takes_names_with_and_without_weight() -> None:
    assert mix_of(["a", "b:3"]) == [Weighted("a", 1), Weighted("b", 3)]
    for wrong in ("", ":3", "a:0", "a:x"):
        with pytest.raises(InvalidInput):
            mix_of([wrong])


def test_equal_books_are_proven() -> None:
    lines = {"a": Line(1, 2, 3), "b": Line(4, 5, 6)}
    proof = compare(lines, lines, attempts=["a", "b"])
    assert proof.holds
    assert (proof.billed, proof.settled) == (Line(5, 7, 9), Line(5, 7, 9))
    assert (proof.billed_attempts, proof.settled_attempts) == (2, 2)


@pytest.mark.parametrize(
    ("billed", "settled"),
    [
        ({"a": Line(1, 2, 3)}, {"a": Line(1, 2, 4)}),
        ({"a": Line(1, 2, 3)}, {"a": Line(2, 1, 3)}),
        ({"a": Line(1, 2, 3)}, {}),
        ({}, {"a": Line(1, 2, 3)}),
    ],
)
def test_one_nano_dollar_is_a_difference(billed: dict[str, Line], settled: dict[str, Line]) -> None:
    proof = compare(billed, settled, attempts=["a"])
    assert proof.differences == (("a", billed.get("a"), settled.get("a")),)


def test_sums_that_agree_do_not_hide_attempts_that_differ() -> None:
    one, two = Line(1, 1, 1), Line(2, 2, 2)
    proof = compare({"a": one, "b": two}, {"a": two, "b": one}, attempts=["a", "b"])
    assert proof.billed == proof.settled
    assert not proof.holds


def test_what_was_billed_to_no_call_of_the_run_must_be_settled_too() -> None:
    assert not compare({"x": Line(1, 1, 1)}, {}, attempts=[]).holds


def test_an_attempt_that_cost_nothing_may_be_missing_and_others_ledger_rows_do_not_count() -> None:
    assert compare({"a": Line(0, 0, 0)}, {"of another run": Line(1, 1, 1)}, attempts=["b"]).holds


def test_quantiles() -> None:
    assert [quantile(range(101), p) for p in (0.0, 0.5, 0.99, 1.0)] == [0, 50, 99, 100]
    assert quantile([], 0.99) == 0


class Slow:
    """A client whose answers take 20 ms; "no" is denied."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def stream(self, profile: str, _text: str, **_options: Any) -> AsyncIterator[Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.02)
        self.now -= 1
        if profile == "no":
            raise PolicyDenied("no")
        yield Started(0, "r", "acme/x", Decision())
        usage = TokenUsage(input_tokens=3, output_tokens=4)
        attempt = Attempt(f"{id(object())}", "m", "p", "completed", "", usage, 7, 9, 0, 0, 0, "")
        yield Finished(1, "r", "length", "m", "p", usage, 7, False, Decision(), (attempt,), (), 5)


async def play(calls: list[Planned], *, concurrency_max: int) -> tuple[Player, Slow]:
    client = Slow()
    player = Player(
        [cast("AsyncClient", client)],
        concurrency_max=concurrency_max,
        chunk_tokens=16,
        timeout_s=1,
        progress=lambda tally: None,
    )
    await player.play(calls)
    return player, client


async def test_calls_are_counted_by_how_they_ended() -> None:
    calls = [Planned(0, name, "", 1, 1) for name in ("yes", "yes", "no")]
    player, _ = await play(calls, concurrency_max=3)
    tally = player.tally
    assert (tally.requests, tally.ok, tally.denied) == (3, 2, {"POLICY_DENIED": 1})
    assert (tally.cut, tally.added_ns) == ({"length": 2}, [5, 5])
    assert (tally.total.input_tokens, tally.total.output_tokens, tally.total.usd_nanos) == (
        6,
        8,
        14,
    )
    assert tally.by_tenant["acme/x"] == tally.by_model["m"] == tally.total


async def test_calls_beyond_the_places_wait_and_their_lateness_is_told() -> None:
    calls = [Planned(0, "yes", "", 1, 1) for _ in range(4)]
    player, client = await play(calls, concurrency_max=1)
    assert client.most == 1
    assert max(player.tally.lag_ns) > 40_000_000  # the fourth waits for three of 20 ms
