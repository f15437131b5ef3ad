"""Bugs put in on purpose: a world of money that does not notice one proves nothing.

Each is killed by a broken invariant, or because the other half of the protocol refuses what the
faulty one says, within SEEDS_MAX seeds.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import money_world
import msgspec
import pytest
from money_host import Disk, LedgerHost
from money_seed import run
from money_world import MoneyWorld

from harmost.core.budget import ledger
from harmost.core.budget.escrow import Escrow
from harmost.core.budget.lease import (
    Amounts,
    Evidence,
    LeaseAsk,
    LeaseGrant,
    LeaseReport,
    Posting,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.leases import LeaseBook, Miss
from harmost.core.budget.ledger import Hold
from harmost.core.budget.lending import EscrowCounter, Router
from harmost.core.budget.nodes import Amount, BudgetPath, Unit
from harmost.core.budget.price import ModelPrice
from harmost.core.budget.router_lease import Lease as RouterLease
from harmost.core.errors import HarmostError

SEEDS_MAX = 60

_lend, _sync, _post_all = Escrow._lend, Escrow.sync, Escrow._post_all
_prove, _path, _take = Escrow._prove, LeaseBook._path, RouterLease.take
_settle = LeaseBook.settle


def expiry_refunds(self: Escrow, router: Router) -> None:
    for lease in router.leases.values():
        self._take_back(lease, lease.left)


def only_what_is_spent_counts(
    self: Escrow, router: Router, account: EscrowCounter, ask: LeaseAsk, now_ns: int
) -> bool:
    counter = account.counter
    limit = counter.limit
    counter.limit_to(min(10**18, limit + counter.used - counter.settled), hard=counter.hard)
    lent = _lend(self, router, account, ask, now_ns)
    counter.limit_to(limit, hard=counter.hard)
    return lent


def a_retry_is_taken_for_a_new_message(
    self: Escrow,
    request: SyncRequest,
    *,
    now_ns: int,
    clock_ns: int = 0,
    posted: Container[str] = frozenset(),
) -> SyncAnswer:
    router = self._routers[request.router]
    if request.epoch == router.epoch and request.sequence == router.sequence:
        router.sequence -= 1
        router.answer = None
    return _sync(self, request, now_ns=now_ns, clock_ns=clock_ns, posted=posted)


def a_level_is_missing(
    self: LeaseBook, where: BudgetPath, minimum: Amount, requests: int, clock_ns: int
) -> Any:
    path = _path(self, where, minimum, requests, clock_ns)
    return path if isinstance(path, Miss) else path._replace(counters=path.counters[:-1])


def no_epoch_is_checked(
    self: Escrow,
    request: SyncRequest,
    *,
    now_ns: int,
    clock_ns: int = 0,
    posted: Container[str] = frozenset(),
) -> SyncAnswer:
    router = self._routers[request.router]
    if request.epoch != router.epoch:
        request = msgspec.structs.replace(request, epoch=router.epoch, sequence=router.sequence + 1)
    return _sync(self, request, now_ns=now_ns, clock_ns=clock_ns, posted=posted)


def sums_are_taken_for_changes(self: Escrow, router: Router, report: LeaseReport) -> None:
    lease = router.leases.get((router.epoch, report.counter))
    if lease is not None:
        self._take_back(lease, min(report.returned, lease.left))


def a_late_settlement_goes_to_the_window_of_now(
    self: Escrow,
    router: Router,
    epoch: int,
    postings: Iterable[Posting],
    posted: Container[str],
) -> None:
    moved: list[Posting] = []
    for posting in postings:
        ids: list[int] = []
        for id in posting.counters:
            account = self._counters.account(id)
            now = self._counters.named(account.name, router.seen_ns)
            assert now is not None
            ids.append(now.counter.id)
        moved.append(msgspec.structs.replace(posting, counters=tuple(ids)))
    _post_all(self, router, epoch, moved, posted)


def money_is_a_float(
    self: LeaseBook, attempt_id: str, hold: Hold, used: Amounts, memo: bytes = b""
) -> None:
    dollars = round(used.usd_nanos / 1e9, 8)
    _settle(self, attempt_id, hold, used._replace(usd_nanos=int(dollars * 1e9)), memo)


def the_hold_is_at_base_price(
    price: ModelPrice, *, input_tokens_max: int, output_tokens_max: int
) -> int:
    picos = input_tokens_max * price.input_usd_picos + output_tokens_max * price.output_usd_picos
    return -(-picos // 1_000)


def an_attempt_settles_twice(
    self: LeaseBook, attempt_id: str, hold: Hold, used: Amounts, memo: bytes = b""
) -> None:
    _settle(self, attempt_id, hold, used, memo)
    self._outbox.append(self._outbox[-1])


def levels_are_taken_one_by_one(
    self: LeaseBook,
    where: BudgetPath,
    amount: Amount,
    minimum: Amount,
    *,
    clock_ns: int,
    requests: int = 1,
    own: object = None,
) -> Hold | Miss:
    path = self._paths.get(where) or self._path(where, minimum, requests, clock_ns)
    if isinstance(path, Miss):
        return path
    for counter in path.counters:
        held = ledger.reserve(
            (counter,),
            usd_nanos=amount.usd_nanos,
            tokens=amount.tokens,
            minimum_usd_nanos=amount.usd_nanos,
            minimum_tokens=amount.tokens,
        )
        if not isinstance(held, Hold):
            return self._miss(path, amount, minimum, requests, clock_ns)
    return ledger.restore(path.counters, usd_nanos=amount.usd_nanos, tokens=amount.tokens)


def what_is_held_goes_back(self: RouterLease, amount: int) -> None:
    amount += self.counter.held
    self.returned += amount
    self.counter.limit_to(self.granted - self.returned, hard=self.counter.hard)


def evidence_forgets_what_is_open(
    self: Escrow, router: Router, evidence: Evidence, posted: Container[str], done: set[str]
) -> None:
    _prove(self, router, msgspec.structs.replace(evidence, outstanding=()), posted, done)


def evidence_is_posted_again(
    self: Escrow, router: Router, evidence: Evidence, posted: Container[str], done: set[str]
) -> None:
    _prove(self, router, evidence, (), set())


def a_grant_is_added_each_time(self: RouterLease, grant: LeaseGrant, clock_ns: int) -> None:
    granted = self.granted + grant.granted
    _take(self, grant, clock_ns)
    self.granted = granted
    self.counter.limit_to(min(10**18, granted - self.returned), hard=grant.hard)


def a_mission_is_promised_what_is_not_held(
    self: LeaseBook, where: BudgetPath, usd_nanos: int, *, clock_ns: int
) -> Hold | Miss:
    path = self._path(where, Amount(usd_nanos, 0), 0, clock_ns)
    if isinstance(path, Miss):
        return path
    money = tuple(each for each in path.counters if each.unit == Unit.USD_NANOS)
    return ledger.restore(money, usd_nanos=usd_nanos, tokens=0, requests=0)


def a_missions_attempts_are_charged_to_nobody_above(
    self: LeaseBook,
    whole: Hold,
    where: BudgetPath,
    amount: Amount,
    minimum: Amount,
    requests: int,
    clock_ns: int,
) -> Hold | Miss | None:
    path = self._path_beside(where, minimum, requests, clock_ns)
    if isinstance(path, Miss):
        return path
    held = ledger.reserve(
        path.counters,
        usd_nanos=amount.usd_nanos,
        tokens=amount.tokens,
        minimum_usd_nanos=amount.usd_nanos,
        minimum_tokens=amount.tokens,
        requests=requests,
    )
    return held if isinstance(held, Hold) else self._miss(path, amount, minimum, 1, clock_ns)


class UnsyncedHost(LedgerHost):
    """Answers before the disk has it: a restart finds what was there one commit ago."""

    before = Disk()

    def write(self) -> None:
        self.before = self.disk.copy()
        super().write()

    def restart(self) -> None:
        self.disk = self.before if self.before.routers else self.disk
        super().restart()


class ForgetfulHost(LedgerHost):
    """Keeps balances and no leases."""

    def write(self) -> None:
        kept = dict(self.disk.leases)
        super().write()
        self.disk.leases = kept


class RefundingHost(LedgerHost):
    """A window that ends gives what it lent to the next one."""

    def expire(self) -> None:
        for account in self.counters.accounts.values():
            counter = account.counter
            if account.bounds.end_ns <= self._now_ns() and counter.leased:
                counter.take_back(counter.leased, suspended=False)
        super().expire()


def patched(owner: Any, name: str, mutant: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, mutant)


def hosted(host: type[LedgerHost]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(money_world, "LedgerHost", host)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "expiry refunds": patched(Escrow, "_suspend", expiry_refunds),
    "only what is spent counts": patched(Escrow, "_lend", only_what_is_spent_counts),
    "a retry is a new message": patched(Escrow, "sync", a_retry_is_taken_for_a_new_message),
    "a level is missing": patched(LeaseBook, "_path", a_level_is_missing),
    "answers before the sync": hosted(UnsyncedHost),
    "leases are not kept": hosted(ForgetfulHost),
    "a window's end refunds": hosted(RefundingHost),
    "no epoch is checked": patched(Escrow, "sync", no_epoch_is_checked),
    "sums are changes": patched(Escrow, "_report", sums_are_taken_for_changes),
    "the wrong window": patched(Escrow, "_post_all", a_late_settlement_goes_to_the_window_of_now),
    "float money": patched(LeaseBook, "settle", money_is_a_float),
    "base price": patched(money_world, "worst_case_usd_nanos", the_hold_is_at_base_price),
    "settles twice": patched(LeaseBook, "settle", an_attempt_settles_twice),
    "levels one by one": patched(LeaseBook, "reserve", levels_are_taken_one_by_one),
    "held goes back": patched(RouterLease, "give_back", what_is_held_goes_back),
    "evidence forgets": patched(Escrow, "_prove", evidence_forgets_what_is_open),
    "evidence again": patched(Escrow, "_prove", evidence_is_posted_again),
    "a promise is not held": patched(LeaseBook, "carve", a_mission_is_promised_what_is_not_held),
    "parts charge nobody": patched(
        LeaseBook, "_part", a_missions_attempts_are_charged_to_nobody_above
    ),
    "grants add up": patched(RouterLease, "take", a_grant_is_added_each_time),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name](patch)
        yield


def killed(name: str) -> tuple[int, str] | None:
    """The first seed at which a mutant is noticed, and by what."""
    for seed in range(SEEDS_MAX):
        with mutated(name):
            try:
                run(MoneyWorld(), seed)
            except (AssertionError, HarmostError, ValueError) as error:
                return seed, f"{type(error).__name__}: {error}".splitlines()[0]
    return None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(name: str, record_property: Callable[[str, object], None]) -> None:
    death = killed(name)
    assert death is not None, f"`{name}` lived through {SEEDS_MAX} seeds"
    record_property("killed_at_seed", death[0])
    record_property("killed_by", death[1])


def test_without_a_mutant_the_same_seeds_pass() -> None:
    for seed in range(10):
        run(MoneyWorld(), seed)


def test_the_gate_has_the_bugs_that_it_must_have() -> None:
    assert len(MUTANTS) >= 12
