"""What is asked of the accounts and what they answer, free of messages and rows."""

import hashlib
from typing import NamedTuple

import msgspec

from harmost.core.budget.lease import LeaseAsk, LeaseName, LeaseReport, RateAsk, SyncAnswer
from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetPath, Unit
from harmost.core.budget.window import Window, WindowBounds
from harmost.core.usage import TokenUsage

__all__ = [
    "Adjusted",
    "Adjustment",
    "BudgetState",
    "BudgetWarning",
    "Closing",
    "Held",
    "KeyClaim",
    "LeaseSync",
    "Posted",
    "Proof",
    "RateState",
    "Reservation",
    "Settlement",
    "Suspense",
    "Synced",
    "fingerprint",
]


class Reservation(NamedTuple):
    """The worst case of one attempt; less will do down to `minimum`.

    Not closed within `lifetime_ns` it counts as suspense, and is still not free; 0: never.
    """

    attempt_id: str
    path: BudgetPath
    model: str
    amount: Amount
    minimum: Amount | None = None
    lifetime_ns: int = 0
    price_version: str = ""


class Settlement(NamedTuple):
    """What an attempt really used, and what says so, for people.

    `price_version` "": the one that it was reserved with.
    """

    attempt_id: str
    amount: Amount
    usage: TokenUsage | None = None
    evidence: str = ""
    price_version: str = ""


class Adjustment(NamedTuple):
    """A correction by a person. `unit` and `window` may be left out where there is one ceiling."""

    idempotency_key: str
    budget: str
    delta: int
    author: str
    reason: str
    unit: Unit | None = None
    window: Window | None = None


class BudgetWarning(msgspec.Struct, frozen=True, array_like=True):
    """A budget that is nearly or wholly used. `resets_at_ns` 0: never."""

    budget: str
    used_permille: int
    resets_at_ns: int


class Held(NamedTuple):
    """What was reserved."""

    amount: Amount
    warnings: tuple[BudgetWarning, ...]


class Posted(NamedTuple):
    """The row that was written, and what it settled above the hold."""

    sequence: int
    debt_usd_nanos: int = 0


class RateState(NamedTuple):
    """A rate: what is there to be used now, and how much Routers have of it, a minute and at once."""

    available: int
    lent_per_minute: int
    lent_burst: int


class BudgetState(NamedTuple):
    """One ceiling with its balances in the window `bounds`; `rate` where it is one."""

    limit: BudgetLimit
    bounds: WindowBounds
    settled: int
    held: int
    debt: int
    leased: int = 0
    suspense: int = 0
    rate: RateState | None = None


class Adjusted(NamedTuple):
    """The row that was written, and the ceiling after it."""

    sequence: int
    state: BudgetState


class Closing(NamedTuple):
    """An attempt that a Router admitted and that has closed; `counters` are the leases it used."""

    attempt_id: str
    path: BudgetPath
    model: str
    held: Amount
    amount: Amount
    usage: TokenUsage | None
    counters: tuple[int, ...]
    admitted_ns: int
    price_version: str = ""
    void: bool = False


class Proof(NamedTuple):
    """What a Router's journal proves of an epoch that ended.

    `partial`: only the attempts; all that is not in them is still not known.
    """

    epoch: int
    attempts: tuple[Closing, ...]
    outstanding: tuple[tuple[int, int], ...]
    partial: bool


class LeaseSync(NamedTuple):
    """A Router's message. `held` is what its attempts hold now, by counter: shown, never counted."""

    router: str
    epoch: int
    sequence: int
    reports: tuple[LeaseReport, ...] = ()
    asks: tuple[LeaseAsk, ...] = ()
    rates: tuple[RateAsk, ...] = ()
    attempts: tuple[Closing, ...] = ()
    proofs: tuple[Proof, ...] = ()
    ended_records: tuple[str, ...] = ()
    released_records: tuple[str, ...] = ()
    held: tuple[tuple[int, int], ...] = ()


class Synced(NamedTuple):
    """The answer, and attempts that will never be taken, each with why."""

    answer: SyncAnswer
    refused: tuple[tuple[str, str], ...] = ()


class Suspense(NamedTuple):
    """What an epoch of a Router left of one balance; `ended`: it can be written off."""

    router: str
    epoch: int
    ended: bool
    name: LeaseName
    start_ns: int
    amount: int


class KeyClaim(NamedTuple):
    """An idempotency key that a Router claims for a call that it is about to make."""

    owner: str
    key: str
    digest: bytes
    record_id: str
    router: str
    epoch: int


def fingerprint(asked: Reservation | Settlement | Adjustment) -> bytes:
    """What the same request has again, and another has not. 16 bytes."""
    said = tuple(asked)
    if not isinstance(asked, Adjustment) and not asked.price_version:
        said = said[:-1]  # as it was before there were versions: a repetition is still one
    return hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).digest()
