"""One attempt with an upstream that is played by hand: what is sent, when it stops, who waits."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from attempt_stage import LAST, Paid, Stage

from harmost.core.audit.rows import MissionOpened
from harmost.core.budget.input_bound import InputBound
from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import compile_price
from harmost.core.errors import ServiceUnavailable
from harmost.core.providers.codec import ProviderError, ProviderErrorKind
from harmost.core.resources.kinds import Price
from harmost.core.routing.health import Place
from harmost.core.usage import TokenUsage
from harmost.services.journal.journal import Journal
from harmost.services.router.attempt import _OUTCOMES, Attempt


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncGenerator[Journal, None]:
    journal = Journal(tmp_path / "journal", "router-0")
    async with journal.running():
        journal.append(
            MissionOpened(
                record_id="m",
                tenant="acme",
                profile="p",
                principal="x",
                router_id="r",
                started_at_ns=1,
            )
        )
        yield journal


async def test_tokens_go_on_in_the_callback_that_brought_them(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a")
    assert stage.texts == ["a"]  # no turn of the loop has passed
    stage.hear(b"b", b"c")
    assert stage.texts == ["a", "b", "c"]
    assert [message.sequence for message in stage.ear.heard] == [2, 3, 4]
    assert {message.delta.attempt_id for message in stage.ear.heard} == {"m-0"}
    task.cancel()


async def test_a_whole_answer_leaves_the_connection_to_the_next(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a", b"b")
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_data(LAST)
    await task
    assert stage.upstream.call.told == ["leave"]
    summary = await stage.attempt.close()
    assert (summary.outcome, summary.usage.output_tokens) == ("completed", 2)
    assert summary.first_token_ns > 0
    assert stage.ear.sequence == 4
    assert stage.upstream.lookups == 0


async def test_a_caller_that_is_gone_stops_its_provider_in_one_turn(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a")
    task.cancel()
    await asyncio.sleep(0)
    assert stage.upstream.call.told == ["cancel"]
    with pytest.raises(asyncio.CancelledError):
        await task
    stage.attempt.cancel("cancelled")
    summary = await stage.attempt.close()
    assert (summary.outcome, summary.usage.output_tokens) == ("cancelled", 1)
    expected = summary.estimated_input_tokens + 1  # of one word and what a usual template adds
    assert 1 < summary.estimated_input_tokens <= 10
    assert stage.ledger.paid[0].amount == Amount(0, expected, price_unknown=True)


async def test_a_caller_that_does_not_read_pauses_its_provider(journal: Journal) -> None:
    stage = Stage(journal, room=2)
    task = await stage.begun()
    stage.hear(b"a")
    assert stage.upstream.call.told == []
    stage.hear(b"b")
    assert stage.upstream.call.told == ["pause"]
    assert stage.ear.callback is not None
    stage.ear.callback()
    assert stage.upstream.call.told == ["pause", "resume"]
    task.cancel()


async def test_a_body_that_ends_early_is_broken(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a")
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_end()
    await task
    assert stage.attempt.outcome == "broken"


@pytest.mark.parametrize("told", [True, False])
async def test_a_tool_that_the_provider_runs_costs_what_was_held_where_it_does_not_tell(
    journal: Journal, told: bool
) -> None:
    price = compile_price(Price(input="1", output="1", tools={"web_search": "0.01"}))
    stage = Stage(journal, price=price, input_bound=InputBound(100, {"web_search": 3}, ()))
    task = await stage.begun()
    stage.hear(b"a")
    assert stage.upstream.sink is not None
    if told:
        stage.upstream.sink.on_data(LAST)
    stage.upstream.sink.on_end()
    await task
    summary = await stage.attempt.close()
    assert (summary.usage.tool_calls, summary.usage.exact) == ({"web_search": 3}, False)
    assert 30_000_000 < summary.cost_usd_nanos < 30_010_000


async def test_an_error_before_the_first_token_costs_nothing(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_error(ProviderError(kind="throttled", message="slow down"))
    await task
    summary = await stage.attempt.close()
    assert (summary.outcome, summary.error) == ("throttled", "slow down")
    assert stage.ledger.paid == [Paid("m-0", None)]


async def test_silence_before_the_first_token_is_a_stall(journal: Journal) -> None:
    stage = Stage(journal, stall_s=0.02)
    await (await stage.begun())
    assert stage.attempt.outcome == "stalled"
    assert stage.upstream.call.told == ["cancel"]


async def test_silence_after_the_first_token_is_the_providers_to_limit(journal: Journal) -> None:
    stage = Stage(journal, stall_s=0.02)
    task = await stage.begun()
    stage.hear(b"a")
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()


async def test_an_answer_longer_than_its_hold_is_cut_at_it(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(*[b"x"] * 60)
    await task
    assert len(stage.texts) == 50
    assert stage.attempt.outcome == "budget_cut"
    assert stage.upstream.call.told == ["cancel"]


async def test_a_listener_that_fails_ends_the_attempt_and_not_the_loop(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(frames: bytes) -> bool:
        raise RuntimeError("a bug")

    stage = Stage(journal)
    stage.ear.relay = fails  # type: ignore[method-assign]
    task = await stage.begun()
    stage.hear(b"a")
    await task
    assert stage.attempt.outcome == "broken"
    assert "a bug" in caplog.text


async def test_an_answer_that_claims_to_have_cost_no_tokens_is_not_believed(
    journal: Journal,
) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a", b"b")
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_data(LAST.replace(b'"completion_tokens":2', b'"completion_tokens":0'))
    await task
    summary = await stage.attempt.close()
    assert stage.upstream.lookups == 1
    assert (summary.usage.output_tokens, summary.usage.exact) == (2, False)


async def test_a_hold_that_was_cut_short_is_what_the_journal_knows(
    journal: Journal, tmp_path: Path
) -> None:
    stage = Stage(journal)

    stage.ledger.less = Amount(0, 120, price_unknown=True)
    await stage.attempt.reserve()
    await journal.flush()
    left = shutil.copytree(tmp_path / "journal", tmp_path / "left")  # as a kill would leave it
    known = Journal(left, "router-0")
    (row,) = known.recovered.open_attempts
    assert (row.held_tokens, row.counters) == (120, (7,))
    known.close()


async def test_what_cannot_be_journaled_is_not_held(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(row: object) -> int:
        raise ServiceUnavailable("the journal cannot be written: no space left")

    stage = Stage(journal)
    monkeypatch.setattr(journal, "append", full)
    with pytest.raises(ServiceUnavailable):
        await stage.attempt.reserve()
    assert stage.ledger.paid == [Paid("m-0", None)]


async def test_what_the_provider_counted_is_expected_of_the_next_attempt(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a")
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_data(LAST.replace(b'"prompt_tokens":3', b'"prompt_tokens":60'))
    await task
    summary = await stage.attempt.close()
    assert (summary.usage.input_tokens, summary.estimated_input_tokens) == (60, 8)
    later = Attempt(stage.attempt.plan, stage.attempt._tools)
    assert later._estimates.input_tokens in range(20, 61)


async def test_what_is_settled_by_estimate_teaches_nothing(journal: Journal) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    stage.hear(b"a" * 60)
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_end()
    await task
    before = (await stage.attempt.close()).estimated_input_tokens
    later = Attempt(stage.attempt.plan, stage.attempt._tools)
    assert later._estimates.input_tokens == before
    assert later._estimates.output_tokens(deltas=1, text_bytes=60, output_tokens_max=50) == 15


async def test_an_answer_of_long_tokens_is_settled_within_its_hold(journal: Journal) -> None:
    """Its bytes by four would be four times the cap that the provider was given."""
    stage = Stage(journal, output_tokens_max=20)
    task = await stage.begun()
    stage.hear(*[b"x" * 16] * 20)
    stage.hear(b"more")
    await task
    summary = await stage.attempt.close()
    assert (summary.outcome, summary.usage.output_tokens) == ("budget_cut", 20)


async def test_a_tool_without_a_price_is_settled_at_no_less_than_the_hold(journal: Journal) -> None:
    """A provider that says it ran one, unasked, must not leave its attempt unsettled."""
    stage = Stage(journal)
    stage.ledger.less = Amount(5_000, 150)
    await stage.attempt.reserve()
    price = compile_price(Price(input="1", output="1", tools={"known": "0.000001"}))
    stage.attempt.plan = msgspec.structs.replace(stage.attempt.plan, price=price)
    for tools, usd_nanos in (({}, 3_000), ({"known": 1}, 4_000), ({"other": 1}, 5_000)):
        usage = TokenUsage(input_tokens=1, output_tokens=2, tool_calls=tools)
        assert stage.attempt._amount(usage) == Amount(usd_nanos, 3)


def test_every_kind_of_failure_has_an_outcome() -> None:
    assert set(_OUTCOMES) == set(get_args(ProviderErrorKind))


async def test_a_caller_that_is_gone_stops_its_provider_at_once(journal: Journal) -> None:
    """Its task may be cancelled some turns later, where thousands are gone together."""
    stage = Stage(journal)
    task = await stage.begun()
    assert stage.ear.gone is not None
    stage.ear.gone()
    assert stage.upstream.call.told == ["cancel"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.ear.gone is None


async def test_headers_of_a_good_answer_and_a_refusal_reach_the_health_of_its_model(
    journal: Journal,
) -> None:
    stage = Stage(journal)
    task = await stage.begun()
    sink, health = stage.upstream.sink, stage.attempt._tools.health
    assert sink is not None
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2m0s"}
    sink.on_response(200, used_up)
    ((place, told),) = health.places()
    assert place == Place.of(stage.attempt.plan.model_spec)
    assert told.requests_left == 0
    assert 100 < told.rest_s(time.monotonic()) <= 120
    sink.on_error(ProviderError(kind="throttled", message="", retry_after_s=200.0))
    await task
    assert 180 < told.rest_s(time.monotonic()) <= 200
