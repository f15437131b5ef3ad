"""What a Router's attempts ask of money: hold and settle from leases, wait only where one is short.

core/budget/leases.py decides; ledger_sync.py talks to the Budget service. What a settlement owes the
ledger is in the journal before the caller hears of the end, and is told until it is acknowledged.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc

from harmost.budget.v1 import budget_pb2
from harmost.core.audit.recovery import Unsettled
from harmost.core.budget import denial
from harmost.core.budget.input_bound import InputBound, check_bound
from harmost.core.budget.lease import Amounts
from harmost.core.budget.leases import Miss
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.ledger import reserve as reserve_nowhere
from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetLimits, BudgetPath, Unit
from harmost.core.budget.rated_book import RatedBook
from harmost.core.budget.router_lease import Lease
from harmost.core.budget.thresholds import NO_WINDOW, Advice, UsedShare, advise
from harmost.core.budget.window import WindowBounds
from harmost.core.errors import BudgetExhausted, HarmostError, ServiceUnavailable
from harmost.core.usage import TokenUsage
from harmost.services.interceptors.errors import error_of
from harmost.services.journal.journal import Journal
from harmost.services.router.epochs import Epochs
from harmost.services.router.lease_convert import Told, closed_attempt
from harmost.services.router.ledger_sync import LedgerSync
from harmost.services.router.purse import Purse

__all__ = ["BudgetClient", "Held"]

log = logging.getLogger(__name__)

# For a lease that is short the ledger is waited for so long at the most. A commit takes milliseconds;
# beyond this a caller is better served by an error, and may try again.
MISS_TIMEOUT_S = 1.0
# Where the Budget service is known not to answer.
MISS_TIMEOUT_CUT_OFF_S = 0.05
RPC_TIMEOUT_S = 2.0

_Found = TypeVar("_Found", "Held", Hold)


class Held(NamedTuple):
    """What was reserved, out of which leases, and what budgets warn of, for people."""

    amount: Amount
    warnings: tuple[str, ...]
    hold: Hold
    book: RatedBook | None

    @property
    def epoch(self) -> int:
        """That of its leases; 0: none hold for it."""
        return self.book.epoch if self.book is not None else 0

    @property
    def counters(self) -> tuple[int, ...]:
        """Its leases; a mission's own ceiling is none."""
        return tuple(counter.id for counter in self.hold.counters if counter.id)


class BudgetClient:
    """One slot's money. `reserve` awaits nothing where leases suffice; the rest never awaits."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        metadata: tuple[tuple[str, str], ...],
        journal: Journal,
        slot: Path,
        miss_timeout_s: float = MISS_TIMEOUT_S,
    ) -> None:
        self._miss_timeout_s = miss_timeout_s
        self._sync = LedgerSync(
            channel, metadata=metadata, journal=journal, epochs=Epochs(slot), router=slot.name
        )
        self._limits: BudgetLimits | None = None
        self._advises = False  # any limit asks for more than a warning
        self.held: dict[str, int] = {}  # nano-USD by attempt, of attempts that are under way
        self.misses = 0  # attempts that waited for the Budget service

    @property
    def owed(self) -> int:
        """Settlements that the ledger has yet to take."""
        return self._sync.owed

    @property
    def messages(self) -> int:
        """Messages that were sent to the ledger."""
        return self._sync.messages

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Talk to the Budget service until the block ends; then tell it once more what is owed."""
        async with self._sync.running():
            yield

    def use(self, limits: BudgetLimits) -> None:
        """From now on `limits` hold."""
        self._limits = limits
        self._advises = any(
            limit.cheaper_at_permille or limit.throttle_at_permille for limit in limits.all
        )
        self._sync.use(limits)

    async def reserve(
        self,
        attempt_id: str,
        path: BudgetPath,
        model: str,
        amount: Amount,
        minimum: Amount,
        purse: Purse | None = None,
    ) -> Held:
        """Hold `amount`, or where there is no more, less down to `minimum`, at every level of `path`.

        Out of what its mission may cost, `purse`, where that has an end. Raises `BudgetExhausted`,
        `RateLimited`, or `ServiceUnavailable` where the leases do not suffice and the Budget service
        does not answer.
        """
        self._check(path, model, amount)
        if purse is not None and amount.price_unknown:
            raise denial.mission_price_unknown(path.profile, model)
        if purse is not None and purse.at_once:
            await self._fill(purse, path)
        found = self._reserve_here(path, amount, minimum, purse)
        if isinstance(found, Miss):
            found = await self._until(
                found,
                lambda: self._reserve_here(path, amount, minimum, purse),
                lambda: self._reserve_nowhere(path, amount, minimum, purse),
                minimum,
            )
        held = Amount(found.hold.usd_nanos, found.hold.tokens, amount.price_unknown)
        self.held[attempt_id] = held.usd_nanos
        warns = self._advice(path, found.book).warns
        return found._replace(amount=held, warnings=tuple(map(_warning, warns)))

    def check_bound(
        self, path: BudgetPath, model: str, bound: InputBound, purse: Purse | None
    ) -> None:
        """Raise `BudgetExhausted` where a hard ceiling meets input that nobody bounds."""
        limits = self._limits.on_path(path) if self._limits is not None else ()
        mission = path.profile if purse is not None else ""
        check_bound(bound.unbounded, limits, model=model, mission=mission)

    def extend(self, attempt_id: str, held: Held, more: Amount) -> Held | None:
        """`held` and `more`, out of what leases have at hand; None: they have too little now."""
        if held.book is not None:
            if not held.book.extend(held.hold, more, clock_ns=time.monotonic_ns()):
                self._sync.hasten()
                return None
        elif not held.hold.extend(usd_nanos=more.usd_nanos, tokens=more.tokens):
            return None
        amount = held.amount._replace(usd_nanos=held.hold.usd_nanos, tokens=held.hold.tokens)
        self.held[attempt_id] = amount.usd_nanos
        return held._replace(amount=amount)

    def advice(self, path: BudgetPath) -> Advice:
        """What budgets of `path` ask for before they are used up, by what is known here. No message.

        A path that no attempt was charged to yet is not known.
        """
        return self._advice(path, self._sync.book) if self._advises else Advice()

    def settle(
        self,
        attempt_id: str,
        held: Held,
        told: Told,
        *,
        amount: Amount | None,
        usage: TokenUsage | None,
    ) -> None:
        """Post what was used, None: nothing; the ledger is told within a second."""
        self.held.pop(attempt_id, None)
        closed = closed_attempt(
            attempt_id,
            told,
            held=held.amount,
            amount=amount,
            usage=usage,
            counters=held.counters,
        )
        self._sync.close(attempt_id, held.hold, held.book, _used(held.amount, amount), closed)

    def recover(self, ended: Iterable[Unsettled]) -> None:
        """Tell the ledger what the journal knows of epochs before; once, before attempts are made."""
        self._sync.recover(ended)

    async def claim(self, owner: str, key: str, digest: bytes, record_id: str) -> None:
        """Claim an idempotency key for a call; `Conflict` or `AlreadyExists` where one has it."""
        request = budget_pb2.ClaimKeyRequest(
            owner=owner,
            key=key,
            digest=digest,
            record_id=record_id,
            router_id=self._sync.router,
            epoch=self._sync.epoch,
        )
        try:
            await self._sync.stub.ClaimKey(
                request, metadata=self._sync.metadata, timeout=RPC_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            cause = error_of(error, service="Budget")
            if isinstance(cause, ServiceUnavailable):
                self._sync.release(record_id)  # it may be claimed: the answer is lost
            raise cause from None
        except asyncio.CancelledError:
            self._sync.release(record_id)
            raise

    async def ended(self, record_id: str) -> None:
        """Tell that a call with a key has ended, and wait for that to be known, for a short while."""
        await self._sync.ended(record_id, timeout_s=self._miss_timeout_s)

    # --- How ------------------------------------------------------------------------------------------

    def _check(self, path: BudgetPath, model: str, amount: Amount) -> None:
        if self._sync.full:
            raise ServiceUnavailable(
                f"{self.owed} settlements wait for the Budget service: see that it runs"
            )
        if self._limits is None:
            raise ServiceUnavailable("no snapshot of the budgets has arrived yet: try again")
        if amount.price_unknown:
            for limit in self._limits.on_path(path):
                if limit.hard and limit.unit is Unit.USD_NANOS:
                    raise denial.price_unknown(model, limit)

    async def _fill(self, purse: Purse, path: BudgetPath) -> None:
        """Hold all that `purse` may cost, where a hard ceiling of money is above it."""
        if purse.hold is not None and purse.book is self._sync.book:
            return
        limits = self._limits.on_path(path) if self._limits is not None else ()
        money = next((each for each in limits if _is_money(each)), None)
        purse.empty()  # an epoch that is over lends nothing more
        if money is None:
            return
        usd_nanos = purse.left

        def carve() -> Hold | Miss:
            book = self._sync.book
            if book is None:
                return Miss(money, None, denied=False, sequence=0)
            found = book.carve(path, usd_nanos, clock_ns=time.monotonic_ns())
            if isinstance(found, Hold):
                purse.fill(found, book)
            return found

        found = carve()
        if isinstance(found, Miss):
            try:
                await self._until(found, carve, lambda: found, Amount(usd_nanos, 0))
            except BudgetExhausted as error:
                raise denial.mission_not_held(path.profile, usd_nanos, error) from None

    def _reserve_here(
        self, path: BudgetPath, amount: Amount, minimum: Amount, purse: Purse | None
    ) -> Held | Miss:
        book = self._sync.book
        if book is None:
            return self._reserve_nowhere(path, amount, minimum, purse)
        own = None if purse is None else purse.hold or purse.counter
        found = book.reserve(path, amount, minimum, clock_ns=time.monotonic_ns(), own=own)
        if found is None:
            raise _own_exhausted(path, purse, minimum)
        return found if isinstance(found, Miss) else Held(amount, (), found, book)

    def _reserve_nowhere(
        self, path: BudgetPath, amount: Amount, minimum: Amount, purse: Purse | None
    ) -> Held | Miss:
        """Without any lease: what meets no hard limit is admitted, and told when that is possible."""
        limits = self._limits.on_path(path) if self._limits is not None else ()
        first_hard = next((limit for limit in limits if limit.hard), None)
        if first_hard is not None:
            return Miss(first_hard, None, denied=False, sequence=0)
        if purse is not None:
            purse.empty()  # of ceilings that are no more
        hold = reserve_nowhere(
            () if purse is None else (purse.counter,),
            usd_nanos=amount.usd_nanos,
            tokens=amount.tokens,
            minimum_usd_nanos=minimum.usd_nanos,
            minimum_tokens=minimum.tokens,
        )
        if isinstance(hold, Counter):
            raise _own_exhausted(path, purse, minimum)
        return Held(amount, (), hold, None)

    async def _until(
        self,
        miss: Miss,
        again: Callable[[], _Found | Miss],
        nowhere: Callable[[], _Found | Miss],
        minimum: Amount,
    ) -> _Found:
        """Wait for the ledger's word on the lease that is short: only its no is a denial.

        Each round is one message, after which it is tried `again`. Others may take what one lent, so
        there are as many as fit in the wait; a lease is asked for so large that one is nearly always
        enough.
        """
        self.misses += 1
        timeout_s = MISS_TIMEOUT_CUT_OFF_S if self._sync.cut_off else self._miss_timeout_s
        heard = False
        try:
            async with asyncio.timeout(timeout_s):
                while not miss.denied:
                    await self._sync.answered(miss.sequence)
                    heard = True
                    found = again()
                    if not isinstance(found, Miss):
                        return found
                    miss = found
        except TimeoutError:
            found = nowhere()
            if not isinstance(found, Miss):
                return found
            raise _not_lent(miss, heard=heard and not self._sync.cut_off) from None
        raise self._denied(miss, minimum)

    def _denied(self, miss: Miss, minimum: Amount) -> HarmostError:
        limit, lease, requested = miss.limit, miss.lease, denial.in_unit(minimum, miss.limit.unit)
        if miss.rate is not None:
            available, wait_ns = miss.rate
            return denial.too_fast(limit, available=available, requested=requested, wait_ns=wait_ns)
        if lease is None:
            return ServiceUnavailable(
                f"the Budget service does not know budget `{limit.budget}` yet: try again"
            )
        return denial.exhausted(
            limit,
            available=lease.limit - lease.used + lease.counter.available,
            requested=requested,
            resets_at_ns=lease.end_ns if limit.window != "total" else 0,
        )

    def _advice(self, path: BudgetPath, book: RatedBook | None) -> Advice:
        if book is None:
            return Advice()
        shares = [
            UsedShare(
                limit,
                used * 1_000 // (lease.limit or 1),
                WindowBounds(lease.start_ns, lease.end_ns),
            )
            for limit, lease, asks_from in book.asking(path)
            if (used := _used_of(lease)) * 1_000 >= asks_from * (lease.limit or 1)
        ]
        shares += (
            UsedShare(limit, permille, NO_WINDOW)
            for limit, permille in book.rates_used(path, clock_ns=time.monotonic_ns())
        )
        return advise(shares, now_ns=time.time_ns()) if shares else Advice()


def _not_lent(miss: Miss, *, heard: bool) -> ServiceUnavailable:
    why = (
        "other calls took what was lent meanwhile: try again"
        if heard
        else "the Budget service does not answer: see that it runs"
    )
    limit = miss.limit
    return ServiceUnavailable(
        f"budget `{limit.budget}` of `{limit.node}` has no lease left here and {why}"
    )


def _is_money(limit: BudgetLimit) -> bool:
    """Whether it is a ceiling out of which money can be held for long: a rate is none."""
    return limit.hard and limit.unit is Unit.USD_NANOS and not limit.rated


def _own_exhausted(path: BudgetPath, purse: Purse | None, minimum: Amount) -> HarmostError:
    assert purse is not None  # INVARIANT: nothing else has too little of its own
    return denial.mission_exhausted(
        path.profile, limit=purse.limit, available=purse.left, requested=minimum.usd_nanos
    )


def _used_of(lease: Lease) -> int:
    # Of a hard limit the ledger counts what it lent as used: here is known what of it is free. Of a
    # soft one it lends nothing: here is known what it has not been told of.
    counter = lease.counter
    if counter.hard:
        free = counter.available
        return lease.used - free if free > 0 else lease.used
    return lease.used + counter.held + counter.settled - lease.posted


def _warning(share: UsedShare) -> str:
    return f"budget `{share.limit.budget}` is used to {share.used_permille / 10:.1f} %"


def _used(held: Amount, amount: Amount | None) -> Amounts | None:
    """What is posted: of an amount without a price, what was held for it."""
    if amount is None:
        return None
    usd_nanos = held.usd_nanos if amount.price_unknown else amount.usd_nanos
    return Amounts(usd_nanos, amount.tokens, 1)
