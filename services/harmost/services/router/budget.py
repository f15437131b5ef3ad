"""The Router's side of the money: reserve before an attempt, settle or void after it.

A settlement is owed until the Budget service has acknowledged it: it waits in the journal, and is
sent again until it is taken.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import grpc

from harmost.budget.v1 import budget_pb2, budget_pb2_grpc
from harmost.core.audit.rows import SettleAcked
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import Conflict, HarmostError, NotFound, ServiceUnavailable
from harmost.core.usage import TokenUsage
from harmost.services.convert.usage import usage_to_proto
from harmost.services.interceptors.errors import error_of
from harmost.services.journal.journal import Journal

__all__ = ["BudgetClient", "Held", "Owed"]

log = logging.getLogger(__name__)

T = TypeVar("T")

RPC_TIMEOUT_S = 2.0
RETRY_MIN_S = 0.2
RETRY_MAX_S = 5.0
OWED_MAX = 100_000  # beyond it new attempts are refused: the ledger is too far behind


class Held(NamedTuple):
    """What was reserved, and what budgets warn of, for people."""

    amount: Amount
    warnings: tuple[str, ...]


class Owed(NamedTuple):
    """A settlement (`amount` set) or a void (None) that the ledger has yet to take."""

    attempt_id: str
    amount: Amount | None
    usage: TokenUsage | None


class BudgetClient:
    """Reserves, settles and voids; keeps what is owed until it is acknowledged."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        metadata: tuple[tuple[str, str], ...],
        journal: Journal,
    ) -> None:
        self._stub = budget_pb2_grpc.BudgetServiceStub(channel)
        self._metadata = metadata
        self._journal = journal
        self._owed: dict[str, Owed] = {}
        self.held: dict[str, int] = {}  # nano-USD by attempt, of attempts that are under way
        self._wake = asyncio.Event()

    @property
    def owed(self) -> int:
        """Settlements that the ledger has yet to take."""
        return len(self._owed)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Send what is owed until the block ends; then try once more."""
        async with asyncio.TaskGroup() as tasks:
            payer = tasks.create_task(self._pay_forever(), name="router.budget.pay")
            try:
                yield
            finally:
                payer.cancel()
        await self._pay_all()

    async def reserve(
        self, attempt_id: str, path: BudgetPath, model: str, amount: Amount, minimum: Amount
    ) -> Held:
        """Hold `amount`, or less down to `minimum`, at every level of `path`.

        Raises `BudgetExhausted`, or `ServiceUnavailable` when there is no answer: without one a
        budget is not known to hold.
        """
        if len(self._owed) >= OWED_MAX:
            raise ServiceUnavailable(
                f"{len(self._owed)} settlements wait for the Budget service: see that it runs"
            )
        request = budget_pb2.ReserveRequest(
            attempt_id=attempt_id,
            path=_path(path),
            model=model,
            amount=_amount(amount),
            minimum=_amount(minimum),
        )
        answer = await _call(
            self._stub.Reserve(request, metadata=self._metadata, timeout=RPC_TIMEOUT_S)
        )
        held = Amount(answer.held.usd_nanos, answer.held.tokens, amount.price_unknown)
        self.held[attempt_id] = held.usd_nanos
        return Held(held, tuple(_warning(warning) for warning in answer.warnings))

    async def pay(self, owed: Owed) -> None:
        """Settle or void. Never raises for a ledger that does not answer: then it stays owed."""
        self._owed[owed.attempt_id] = owed
        self.held.pop(owed.attempt_id, None)
        try:
            await self._paid(owed)
        finally:  # a caller that is cancelled here owes it all the same
            if owed.attempt_id in self._owed:
                self._wake.set()

    async def _paid(self, owed: Owed) -> bool:
        try:
            await _call(self._send(owed))
        except (NotFound, Conflict) as error:
            # Never reserved, or taken before in another form: the ledger's word is final. A void
            # of what was never reserved is what a kill between the two leaves: nothing to tell.
            level = logging.DEBUG if owed.amount is None else logging.WARNING
            log.log(level, "settlement of `%s` is not taken: %s", owed.attempt_id, error)
        except HarmostError as error:
            log.info("settlement of `%s` waits: %s", owed.attempt_id, error)
            return False
        self._owed.pop(owed.attempt_id, None)
        self._journal.append(SettleAcked(attempt_id=owed.attempt_id))
        return True

    def _send(self, owed: Owed) -> Awaitable[object]:
        if owed.amount is None:
            void = budget_pb2.VoidRequest(attempt_id=owed.attempt_id)
            return self._stub.Void(void, metadata=self._metadata, timeout=RPC_TIMEOUT_S)
        settle = budget_pb2.SettleRequest(
            attempt_id=owed.attempt_id,
            amount=_amount(owed.amount),
            usage=usage_to_proto(owed.usage or TokenUsage()),
        )
        return self._stub.Settle(settle, metadata=self._metadata, timeout=RPC_TIMEOUT_S)

    async def _pay_forever(self) -> None:
        delay_s = RETRY_MIN_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            if await self._pay_all():
                self._wake.clear()
                delay_s = RETRY_MIN_S
            else:
                delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def _pay_all(self) -> bool:
        """True when nothing is owed. Stops at the first that is not taken: the others wait too."""
        for owed in list(self._owed.values()):
            if not await self._paid(owed):
                return False
        return True


async def _call(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise error_of(error, service="Budget") from None


def _path(path: BudgetPath) -> budget_pb2.BudgetPath:
    return budget_pb2.BudgetPath(
        tenant=path.tenant,
        profile=path.profile,
        agent_id=path.agent_id,
        end_user_id=path.end_user_id,
    )


def _amount(amount: Amount) -> budget_pb2.Amount:
    return budget_pb2.Amount(
        usd_nanos=amount.usd_nanos,
        tokens=amount.tokens,
        price_unknown=amount.price_unknown,
    )


def _warning(warning: budget_pb2.BudgetWarning) -> str:
    return f"budget `{warning.budget}` is used to {warning.used_permille / 10:.1f} %"
