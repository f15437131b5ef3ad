"""Messages that no honest Router sends: each is refused whole or leaves a ledger that adds up."""

from collections import defaultdict
from typing import Any

import msgspec
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from money_host import LedgerHost
from money_limits import limits
from money_world import S_NS, START_NS

from harmost.core.budget.lease import (
    Amounts,
    Evidence,
    LeaseAsk,
    LeaseName,
    LeaseReport,
    Posting,
    SyncRequest,
)
from harmost.core.budget.lending import LeaseKey
from harmost.core.errors import HarmostError

NAMES = (
    LeaseName("org", 1, "day"),
    LeaseName("org", 2, "hour"),
    LeaseName("org", 3, "hour"),
    LeaseName("a", 1, "total"),
    LeaseName("nobody", 1, "day"),
    LeaseName("org", 2, "day"),
)
huge = st.sampled_from((-1, 10**18, 10**18 + 1, 2**63, -(2**63)))
some = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 3_000_000))
ids = st.integers(1, 3)


def postings_of(
    amount: st.SearchStrategy[int], ids: st.SearchStrategy[int]
) -> st.SearchStrategy[Posting]:
    amounts = st.builds(Amounts, amount, amount, st.integers(0, 1))
    return st.builds(
        Posting, st.sampled_from("abcdefgh"), st.sets(ids, max_size=3).map(tuple), amounts, amounts
    )


def messages(
    amount: st.SearchStrategy[int], ids: st.SearchStrategy[int], *, wild: bool
) -> st.SearchStrategy[Any]:
    """What a Router says; `wild`: also what cannot be."""
    postings = postings_of(amount, ids)
    odd = (0, 0, 0, -1, 1, 2)
    asks = st.builds(
        LeaseAsk, st.sampled_from(NAMES), amount, st.just(0), st.just(0), st.booleans()
    )
    if wild:
        asks = st.builds(LeaseAsk, st.sampled_from(NAMES), amount, amount, amount, st.booleans())
    return st.tuples(
        st.sampled_from(("r", "r", "s", "stranger") if wild else ("r", "s")),
        st.sampled_from(odd if wild else (0,)),  # epochs off the true one
        st.sampled_from(odd if wild else (0,)),  # likewise of the sequence
        st.lists(st.builds(LeaseReport, ids, amount, amount, st.booleans()), max_size=2),
        st.lists(asks, max_size=3),
        st.lists(postings, max_size=2),
        st.lists(
            st.builds(
                Evidence,
                st.integers(-1, 4) if wild else st.integers(1, 2),
                st.lists(postings, max_size=2).map(tuple),
                st.lists(st.tuples(ids, amount), max_size=2).map(tuple),
            ),
            max_size=int(wild),
        ),
        st.sampled_from((True, True, False)),  # whether its sums are those of its rows
    )


happenings = st.one_of(
    messages(some, ids, wild=False),
    messages(some, ids, wild=False),
    messages(some, ids, wild=True),
    messages(st.one_of(some, huge), st.integers(-1, 6), wild=True),
    st.sampled_from(("register", "restart", "expire", "time")),
)


def summed(host: LedgerHost, request: SyncRequest) -> SyncRequest:
    """The same, its reports saying of each counter once what its rows make."""
    reports: dict[int, LeaseReport] = {}
    for report in request.reports:
        row = host.disk.leases.get(LeaseKey(request.router, request.epoch, report.counter))
        known = host.counters.accounts.get(report.counter)
        unit = known.counter.unit - 1 if known is not None else 0
        posted = row.posted if row is not None else 0
        posted += sum(p.used[unit] for p in request.postings if report.counter in p.counters)
        reports[report.counter] = msgspec.structs.replace(report, posted=posted)
    return msgspec.structs.replace(request, reports=tuple(reports.values()))


def adds_up(host: LedgerHost) -> None:
    left: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for lease in host.disk.leases.values():
        assert lease.left >= 0
        assert min(lease.granted, lease.spent, lease.returned, lease.posted) >= 0
        left[lease.key.counter][lease.suspended] += lease.left
    used: dict[int, int] = defaultdict(int)
    for posting in host.disk.postings.values():
        for id in posting.counters:
            used[id] += posting.used[host.counters.account(id).counter.unit - 1]
    uncovered = {debt.counter for debt in host.debts if debt.not_lent}
    for id, account in host.counters.accounts.items():
        counter = account.counter
        assert [counter.leased, counter.suspense] == left[id]
        assert counter.settled == used[id]
        if counter.hard and id not in uncovered:
            assert counter.used <= counter.limit + counter.debt


@pytest.mark.timeout(3_600)
@given(st.lists(happenings, min_size=1, max_size=20))
@settings(max_examples=effort(150, ci=1_500, nightly=50_000), deadline=None)
def test_whatever_is_said_the_ledger_adds_up(history: list[object]) -> None:
    now_ns = START_NS
    host = LedgerHost(limits(), lambda: now_ns)
    for router in ("r", "s"):
        epoch = host.register(router)
        asks = tuple(LeaseAsk(name, 1_000_000) for name in NAMES[:4])
        host.sync(SyncRequest(router, epoch, 1, asks=asks))
    for what in history:
        if what == "register":
            host.register("r")
        elif what == "restart":
            host.restart()
        elif what == "expire":
            host.expire()
        elif what == "time":
            now_ns += 61 * S_NS
        elif isinstance(what, tuple):
            router, epochs, sequences, *fields, sums = what
            row = host.disk.routers.get(router)
            epoch, sequence = (row.epoch, row.sequence) if row is not None else (1, 0)
            request = SyncRequest(
                router, epoch + epochs, sequence + 1 + sequences, *map(tuple, fields)
            )
            request = summed(host, request) if sums else request
            before = host.disk.copy()
            try:
                host.sync(request)
            except HarmostError:
                host.write()
                assert host.disk == before, "what is refused changes nothing"
        adds_up(host)
