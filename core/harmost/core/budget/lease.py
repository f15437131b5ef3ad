"""What a Router and the ledger say to each other about leases. Says nothing of how it travels.

A Router has one message under way at a time and sends it again, unchanged, until it is answered.
What it spent and gave back, and what it was granted, are sums since its epoch began: a message that
comes twice changes nothing, and one that is lost takes nothing with it.
"""

from typing import Literal, NamedTuple

import msgspec

from harmost.core.budget.window import Window

__all__ = [
    "Amounts",
    "Evidence",
    "LeaseAsk",
    "LeaseGrant",
    "LeaseName",
    "LeaseReport",
    "Posting",
    "Push",
    "RateAsk",
    "RateGrant",
    "SyncAnswer",
    "SyncRequest",
]


class Amounts(NamedTuple):
    """An amount in every unit that a counter can count, in the order of `Unit`."""

    usd_nanos: int = 0
    tokens: int = 0
    requests: int = 0


class LeaseName(NamedTuple):
    """One ceiling of one document, in whichever window: what a Router knows without the ledger."""

    budget: str
    unit: int
    window: Window


class Posting(msgspec.Struct, frozen=True, array_like=True):
    """One attempt, closed: what it held and used on each of `counters` (ids). A void used nothing.

    `memo` is the ledger row's own business: who, which model, which tokens.
    """

    attempt_id: str
    counters: tuple[int, ...]
    held: Amounts
    used: Amounts
    memo: bytes = b""


class LeaseReport(msgspec.Struct, frozen=True, array_like=True):
    """A Router on one counter: all that it posted and gave back there since its epoch began.

    `closed`: the window is over, nothing is held, all is given back: the lease may be forgotten.
    """

    counter: int
    posted: int
    returned: int
    closed: bool = False


class LeaseAsk(msgspec.Struct, frozen=True, array_like=True):
    """A Router wants `amount` more of a ceiling: of that, `needed` by attempts that wait for it.

    Less than `minimum`, what the smallest of them can do with, is of no use. In the current window by
    the ledger's clock, or in the `following` one if that is near.
    """

    name: LeaseName
    amount: int
    needed: int = 0
    minimum: int = 0
    following: bool = False


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """What a Router's journal proves of one of its earlier epochs.

    `postings` are of attempts that have closed meanwhile; `outstanding` what is still not known, by
    counter. What was lent in that epoch and is in neither was never spent: so only a journal that has
    every attempt of the epoch proves it, and only once the process that wrote it is gone.
    """

    epoch: int
    postings: tuple[Posting, ...] = ()
    outstanding: tuple[tuple[int, int], ...] = ()


class RateAsk(msgspec.Struct, frozen=True, array_like=True):
    """A Router wants a share of so much a minute: of a ceiling that is a rate.

    `level` is there (below 0: owed), `credit` may come back, and `burst` is what should be there; a large
    attempt takes `hold`. Attempts wait for `needed` more; less than `minimum` is of no use to any.
    `returned` is all that was given back since the share began. Each message asks for every share that
    is in use: one that is not asked for is given back whole.
    """

    name: LeaseName
    per_minute: int
    burst: int
    level: int = 0
    credit: int = 0
    hold: int = 0
    needed: int = 0
    minimum: int = 0
    returned: int = 0


class RateGrant(msgspec.Struct, frozen=True, array_like=True):
    """A Router's share from now on: until SHARE_NS after its message was first sent.

    `granted` is all that was paid into share `share` since it began: an answer that comes twice pays
    once; `returned` all that came back from it. With nobody is `rest_level`, which fills with
    `rest_per_minute` up to `rest_burst`; with other Routers `others_level`, as they told. `denied`: less
    was paid than attempts wait for. `exact`: there is too little for shares, so what is free is to be
    given back, and asked for by each attempt. `most_*`: what the Router may be spending until it is known
    that this reached it.
    """

    name: LeaseName
    share: int
    per_minute: int
    burst: int
    granted: int
    limit: int
    returned: int = 0
    rest_per_minute: int = 0
    rest_burst: int = 0
    rest_level: int = 0
    others_level: int = 0
    denied: bool = False
    exact: bool = False
    most_per_minute: int = 0
    most_burst: int = 0


class SyncRequest(msgspec.Struct, frozen=True, array_like=True):
    """A Router's message. `sequence` begins at 1 with each epoch and rises by one."""

    router: str
    epoch: int
    sequence: int
    reports: tuple[LeaseReport, ...] = ()
    asks: tuple[LeaseAsk, ...] = ()
    postings: tuple[Posting, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    rates: tuple[RateAsk, ...] = ()


class LeaseGrant(msgspec.Struct, frozen=True, array_like=True):
    """The ledger on one counter: all that it granted to this Router since the epoch began.

    From `start_ns` to just before `end_ns`, nanoseconds since 1970, is its window. `limit` and
    `used`, of all Routers together, tell how near the end is. `denied`: what attempts
    wait for is not there now, or not all of it. A soft ceiling needs no grant.
    """

    counter: int
    name: LeaseName
    start_ns: int
    end_ns: int
    hard: bool
    granted: int
    limit: int
    used: int
    denied: bool = False


class SyncAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The ledger's answer. "applied": every lease of the Router holds for another while.

    "fenced": a later epoch has begun: spend nothing more, register again. "gap": a message is
    missing: `sequence` is the last that was applied. `now_ns` is the ledger's clock, nanoseconds since
    1970: a Router knows windows by it, not by its own. `unknown` limits are in no document here.
    """

    status: Literal["applied", "fenced", "gap"]
    sequence: int
    now_ns: int = 0
    grants: tuple[LeaseGrant, ...] = ()
    unknown: tuple[LeaseName, ...] = ()
    rates: tuple[RateGrant, ...] = ()


class Push(msgspec.Struct, frozen=True, array_like=True):
    """What a Router is told unasked. "recall": give back what is idle. "cleared": ask again."""

    router: str
    counter: int
    kind: Literal["recall", "cleared"]
