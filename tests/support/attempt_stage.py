"""One attempt whose upstream, ledger and caller a test plays by hand; journal and exchange are real."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from harmost.core.budget.input_bound import InputBound
from harmost.core.budget.ledger import Counter, reserve
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.budget.price import ModelPrice
from harmost.core.chat import Generation, Message
from harmost.core.providers.codec import HttpRequest
from harmost.core.resources.kinds import ModelSpec, ProviderSpec
from harmost.core.tokens.measure import Shape
from harmost.core.usage import TokenUsage
from harmost.router.v1 import router_pb2
from harmost.services.journal.journal import Journal
from harmost.services.providers.endpoints import Endpoint
from harmost.services.router.attempt import Attempt, AttemptTools
from harmost.services.router.attempt_plan import AttemptPlan
from harmost.services.router.budget import Held
from harmost.services.router.events import MissionEvent
from harmost.services.router.purse import Purse
from harmost.services.upstream.upstream import Billed, Sink, Unavailable

CHUNK = b'data: {"id":"r","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
LAST = (
    b'data: {"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"r","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


BOUND = InputBound(100, {}, ())


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
        self.limit_tokens = 10**9

    def extend(self, attempt_id: str, held: Held, more: Amount) -> Held | None:
        if not held.hold.extend(usd_nanos=more.usd_nanos, tokens=more.tokens):
            return None
        return held._replace(amount=held.amount._replace(tokens=held.hold.tokens))

    async def reserve(
        self,
        attempt_id: str,
        path: BudgetPath,
        model: str,
        amount: Amount,
        minimum: Amount,
        purse: Purse | None,
    ) -> Held:
        held = self.less or amount
        tokens = Counter(7, unit=2, limit=self.limit_tokens, hard=True)
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
        self.gone: Callable[[], object] | None = None

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

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        self.gone = callback


class Stage:
    """An attempt whose answer the test plays."""

    def __init__(
        self,
        journal: Journal,
        *,
        stall_s: float | None = None,
        room: int = 1_000,
        output_tokens_max: int = 50,
        progressive: bool = False,
        fsync_first: bool = False,
        price: ModelPrice | None = None,
        input_bound: InputBound = BOUND,
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
            price=price,
            path=BudgetPath("acme", "p", "", ""),
            messages=(Message.of("user", "hi"),),
            generation=Generation(),
            shape=Shape(["hi"]),
            input_bound=input_bound,
            output_tokens_max=output_tokens_max,
            stall_s=stall_s,
            fsync_first=fsync_first,
            progressive=progressive,
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
