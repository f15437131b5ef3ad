"""One attempt with an upstream that is played by hand: what is sent, when it stops, who waits."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harmost.core.audit.rows import MissionOpened
from harmost.core.budget.ledger import Counter, reserve
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.chat import Generation, Message
from harmost.core.errors import ServiceUnavailable
from harmost.core.providers.codec import HttpRequest, ProviderError
from harmost.core.resources.kinds import ModelSpec, ProviderSpec
from harmost.core.usage import TokenUsage
from harmost.router.v1 import router_pb2
from harmost.services.journal.journal import Journal
from harmost.services.providers.endpoints import Endpoint
from harmost.services.router.attempt import Attempt, AttemptPlan, AttemptTools
from harmost.services.router.budget import Held
from harmost.services.router.events import MissionEvent
from harmost.services.upstream.upstream import Billed, Sink, Unavailable

CHUNK = b'data: {"id":"r","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
LAST = (
    b'data: {"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"r","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


class Call:
    """An upstream call that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def cancel(self) -> None:
        self.told.append("cancel")

    def leave(self) -> None:
        self.told.append("leave")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


class Upstream:
    """Gives its calls' sinks to the test."""

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.call = Call()
        self.lookups = 0

    def open(self, endpoint: Endpoint, http_request: HttpRequest, **given: Any) -> Call:
        self.sink = given["sink"]
        return self.call

    async def usage_lookup(self, endpoint: Endpoint, attempt_id: str) -> Billed | Unavailable:
        self.lookups += 1
        return Unavailable(message="no books")


class Paid(NamedTuple):
    """A settlement."""

    attempt_id: str
    amount: Amount | None


class Ledger:
    """Holds everything, or `less`, and takes every settlement once."""

    def __init__(self) -> None:
        self.paid: list[Paid] = []
        self.less: Amount | None = None

    async def reserve(
        self,
        attempt_id: str,
        path: BudgetPath,
        model: str,
        amount: Amount,
        minimum: Amount,
        own: Counter | None,
    ) -> Held:
        held = self.less or amount
        tokens = Counter(7, unit=2, limit=10**9, hard=True)
        hold = reserve(
            (tokens,),
            usd_nanos=0,
            tokens=held.tokens,
            minimum_usd_nanos=0,
            minimum_tokens=held.tokens,
        )
        return Held(held, (), hold, None)  # type: ignore[arg-type]

    def settle(
        self,
        attempt_id: str,
        held: Held,
        told: object,
        *,
        amount: Amount | None,
        usage: TokenUsage | None,
    ) -> None:
        held.hold.void()  # raises the second time
        self.paid.append(Paid(attempt_id, amount))


class Ear:
    """A listener with room for `room` messages."""

    def __init__(self, room: int = 1_000) -> None:
        self.sequence = 2
        self.keeps_text = False
        self.room = room
        self.heard: list[router_pb2.StreamChatResponse] = []
        self.callback: Callable[[], object] | None = None

    def tell(self, event: MissionEvent) -> None:
        raise AssertionError("an attempt tells no events")

    def relay(self, frames: bytes) -> bool:
        while frames:
            size = int.from_bytes(frames[1:5], "big")
            self.heard.append(router_pb2.StreamChatResponse.FromString(frames[5 : 5 + size]))
            frames = frames[5 + size :]
        return len(self.heard) < self.room

    def on_room(self, callback: Callable[[], object] | None) -> None:
        self.callback = callback


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


class Stage:
    """An attempt whose answer the test plays."""

    def __init__(
        self, journal: Journal, *, stall_s: float | None = None, room: int = 1_000
    ) -> None:
        self.upstream, self.ledger, self.ear = Upstream(), Ledger(), Ear(room)
        endpoint = Endpoint.of("p", ProviderSpec(codec="openai", base_url="http://127.0.0.1:1"))
        plan = AttemptPlan(
            attempt_id="m-0",
            record_id="m",
            step_index=0,
            model="x",
            model_spec=ModelSpec(provider="p", vendor_model_id="x"),
            endpoint=endpoint,
            price=None,
            path=BudgetPath("acme", "p", "", ""),
            messages=(Message("user", "hi"),),
            generation=Generation(),
            input_tokens=1,
            input_tokens_max=100,
            output_tokens_max=50,
            stall_s=stall_s,
            fsync_first=False,
        )
        self.attempt = Attempt(plan, AttemptTools(journal, self.ledger, self.upstream))  # type: ignore[arg-type]

    async def begun(self) -> "asyncio.Task[None]":
        """`relay`, once its call is open."""
        await self.attempt.reserve()
        task = asyncio.create_task(self.attempt.relay(self.ear, keep_text=False))
        while self.upstream.sink is None:
            await asyncio.sleep(0)
        return task

    def hear(self, *texts: bytes) -> None:
        assert self.upstream.sink is not None
        self.upstream.sink.on_data(b"".join(CHUNK % text for text in texts))

    @property
    def texts(self) -> list[str]:
        return [message.delta.text for message in self.ear.heard]


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
    assert stage.ledger.paid[0].amount == Amount(0, 2, price_unknown=True)


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
