"""The ledger's half of the lease protocol: lends budget to Routers, and learns what became of it.

Decides on balances in memory and says which rows changed; whoever calls it makes those durable
before an answer leaves, and builds it anew from its rows when that fails. Knows no file and no clock.

* A grant is durable before the Router hears of it, so what a Router spends was taken out before.
* Nothing that was lent becomes free by time: a Router that is not heard of has its leases moved to
  suspense, and only evidence (what its journal proves, or a person's word) takes them out again.
* Safety rests on no clock: a wrong one costs use of the budget, never more than the budget.

Source: escrow as in ledger.pyx; leases as in Gray and Cheriton, "Leases", SOSP 1989, but that
expiry gives nothing back.
"""

from collections.abc import Container, Iterable

from harmost.core.budget.lease import (
    Evidence,
    LeaseAsk,
    LeaseGrant,
    LeaseName,
    LeaseReport,
    Posting,
    Push,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.lending import (
    Debt,
    Effects,
    EscrowCounter,
    EscrowCounters,
    Lease,
    LeaseKey,
    LeaseRow,
    Router,
    RouterRow,
    Shared,
    Total,
    check_evidence,
    check_sync,
    totals,
)
from harmost.core.budget.rates import Rates
from harmost.core.errors import NotFound, NotPossibleNow
from harmost.core.limits import USD_NANOS_MAX

__all__ = ["AHEAD_NS", "GRACE_NS", "INTEREST_NS", "LEASE_NS", "Escrow"]

# A Router stops spending this long after it sent the message that was answered last ...
LEASE_NS = 30 * 10**9
# ... and the ledger waits so much longer: its clock may run faster, its answer may have been late.
GRACE_NS = 30 * 10**9
# A Router that asked within this shares what is free with those that ask now.
INTEREST_NS = 30 * 10**9
# The next window's leases are granted at the most this long before it begins.
AHEAD_NS = 10 * 10**9
# Leases of one Router: 300 bytes each. More asks are denied.
LEASES_MAX = 100_000
# Names of Routers are kept for ever, for the sake of their epochs.
ROUTERS_MAX = 4_096


class Escrow:
    """Every lease of one ledger. Times are nanoseconds since 1970; one thread, one caller.

    What a method refuses with a HarmostError has changed nothing.
    """

    def __init__(self, counters: EscrowCounters, rates: Rates | None = None) -> None:
        self._counters = counters
        self._rates = rates if rates is not None else Rates(now_ns=0)
        self._routers: dict[str, Router] = {}
        self._shared: dict[int, Shared] = {}
        self._pushes: dict[Push, None] = {}
        self._changed_counters: set[int] = set()
        self._changed_leases: dict[LeaseKey, Lease] = {}
        self._forgotten: dict[LeaseKey, None] = {}
        self._changed_routers: dict[str, Router] = {}
        self._postings: list[Posting] = []
        self._debts: list[Debt] = []

    def restore(
        self,
        routers: Iterable[RouterRow],
        leases: Iterable[LeaseRow],
        *,
        now_ns: int,
        clock_ns: int = 0,
    ) -> None:
        """Take up what was kept; every Router has a whole term from `now_ns` to be heard of.

        `clock_ns` is the same moment on the monotonic clock, which rates go by.
        """
        for row in routers:
            self._routers[row.router] = Router(row, now_ns)
            if row.answer is not None:
                self._rates.restore(row.router, row.epoch, row.answer, now_ns=clock_ns)
        for lease in leases:
            key = lease.key
            self._routers[key.router].leases[key.epoch, key.counter] = Lease(lease)

    # --- What a Router says --------------------------------------------------------------------------

    def register(self, router: str, *, now_ns: int) -> int:
        """The Router's new epoch. What it was lent in earlier ones waits in suspense for evidence."""
        known = self._routers.get(router)
        if known is None:
            if len(self._routers) >= ROUTERS_MAX:
                raise NotPossibleNow(
                    f"`{ROUTERS_MAX}` Routers are known: start them under the names of earlier ones"
                )
            known = self._routers[router] = Router(RouterRow(router, 0, 0, None), now_ns)
        self._suspend(known)
        self._rates.over(router, known.epoch)
        known.epoch += 1
        known.sequence, known.answer, known.seen_ns = 0, None, now_ns
        self._changed_routers[router] = known
        return known.epoch

    def epochs_in_suspense(self, router: str) -> tuple[int, ...]:
        """The earlier epochs of which something is still not known: evidence is wanted."""
        known = self._routers.get(router)
        if known is None:
            return ()
        return tuple(sorted({epoch for epoch, _ in known.leases if epoch != known.epoch}))

    def sync(
        self,
        request: SyncRequest,
        *,
        now_ns: int,
        clock_ns: int = 0,
        posted: Container[str] = frozenset(),
    ) -> SyncAnswer:
        """Take in what a Router did and lend it what it asks for, as far as that is there.

        `clock_ns` is `now_ns` on the monotonic clock, which rates go by.
        `posted` has those attempts of the request that the ledger has closed before: they are not
        settled again. Raises InvalidInput or NotFound where the message does not fit its own rows or
        what was lent. O(rows of the message + Routers that share what is asked for).
        """
        router = self._routers.get(request.router)
        if router is None or request.epoch != router.epoch:
            return SyncAnswer("fenced", router.sequence if router is not None else 0, now_ns)
        if request.sequence == router.sequence and router.answer is not None:
            self._rates.again(router.name, router.epoch, now_ns=clock_ns)
            return router.answer
        if request.sequence != router.sequence + 1:
            return SyncAnswer("gap", router.sequence, now_ns)
        check_sync(self._counters, router, request, posted)
        router.seen_ns = now_ns
        self._revive(router)
        self._post_all(router, router.epoch, request.postings, posted)
        done = {posting.attempt_id for posting in request.postings}
        for evidence in request.evidence:
            self._prove(router, evidence, posted, done)
        for report in request.reports:
            self._report(router, report)
        router.answer = self._answer(router, request, now_ns, clock_ns)
        router.sequence = request.sequence
        self._changed_routers[router.name] = router
        return router.answer

    # --- What time, people and documents do ----------------------------------------------------------

    def expire(self, *, now_ns: int) -> tuple[str, ...]:
        """Move the leases of Routers that are not heard of to suspense; who they are. O(leases).

        A Router that is heard of again in the same epoch has them back.
        """
        silent = [
            router
            for router in self._routers.values()
            if now_ns - router.seen_ns > LEASE_NS + GRACE_NS
            and any(lease.left and not lease.suspended for lease in router.leases.values())
        ]
        for router in silent:
            self._suspend(router)
        over = [id for id, shared in self._shared.items() if shared.end_ns <= now_ns]
        for id in over:
            del self._shared[id]
        return tuple(router.name for router in silent)

    def prove(
        self, router: str, evidence: Evidence, *, posted: Container[str] = frozenset()
    ) -> None:
        """Take in evidence of an epoch that has ended, from whoever has it; NotFound, InvalidInput.

        What a person writes off is evidence too: one posting, or nothing outstanding.
        """
        known = self._routers.get(router)
        if known is None:
            raise NotFound(f"Router `{router}` is not known: see `harmost top`")
        check_evidence(self._counters, known, (evidence,), posted)
        self._prove(known, evidence, posted, set())

    def limits_changed(self, ids: Iterable[int]) -> None:
        """Tell Routers of counters whose limits are others now: to give back, or to ask again."""
        for id in ids:
            if self._counters.account(id).counter.available < 0:
                self._recall(id, but="")
            self._tell_freed(id)

    def freed(self, ids: Iterable[int]) -> None:
        """Tell Routers that were denied: something settled, was voided or corrected meanwhile."""
        for id in ids:
            self._tell_freed(id)

    def recall(self, id: int) -> None:
        """Ask Routers for what is idle of counter `id`: somebody without leases needs it."""
        if self._counters.account(id).counter.leased:
            self._recall(id, but="")

    def pushes(self) -> tuple[Push, ...]:
        """What Routers are to be told unasked, since the last time; after the commit."""
        pushes = tuple(self._pushes)
        self._pushes.clear()
        return pushes

    def effects(self) -> Effects:
        """What changed since the last time; before the commit."""
        effects = Effects(
            counters=frozenset(self._changed_counters),
            leases=tuple(lease.row() for lease in self._changed_leases.values()),
            forgotten=tuple(self._forgotten),
            routers=tuple(router.row() for router in self._changed_routers.values()),
            postings=tuple(self._postings),
            debts=tuple(self._debts),
        )
        self._changed_counters.clear()
        self._changed_leases.clear()
        self._forgotten.clear()
        self._changed_routers.clear()
        self._postings.clear()
        self._debts.clear()
        return effects

    def leases(self) -> tuple[LeaseRow, ...]:
        """Every lease as it is now. O(leases)."""
        return tuple(
            lease.row() for router in self._routers.values() for lease in router.leases.values()
        )

    # --- How ------------------------------------------------------------------------------------------

    def _answer(
        self, router: Router, request: SyncRequest, now_ns: int, clock_ns: int
    ) -> SyncAnswer:
        accounts: dict[int, EscrowCounter] = {}
        denied: set[int] = set()
        unknown: list[LeaseName] = []
        for ask in request.asks:
            account = self._asked(router, ask, now_ns)
            if account is None:
                unknown.append(ask.name)
                continue
            accounts[account.counter.id] = account
            if not self._lend(router, account, ask, now_ns):
                denied.add(account.counter.id)
        for report in request.reports:
            if not report.closed and report.counter not in accounts:
                accounts[report.counter] = self._counters.account(report.counter)
        grants = [self._grant(router, account, id in denied) for id, account in accounts.items()]
        rates, no_rates = self._rates.sync(
            router.name, router.epoch, request.rates, number=request.sequence, now_ns=clock_ns
        )
        return SyncAnswer(
            "applied", request.sequence, now_ns, tuple(grants), (*unknown, *no_rates), rates
        )

    def _post_all(
        self,
        router: Router,
        epoch: int,
        postings: Iterable[Posting],
        posted: Container[str],
    ) -> None:
        """Close attempts: those of the same counters together, where nothing is to be said of one."""
        plain: list[Posting] = []
        for posting in postings:
            again = posting.attempt_id in posted
            used, held = posting.used, posting.held
            if again or used[0] > held[0] or used[1] > held[1] or used[2] > held[2]:
                self._post(router, epoch, posting, again=again)
            else:
                plain.append(posting)
        for ids, total in totals(plain).items():
            if self._covered(router, epoch, ids, total):
                self._post_total(router, epoch, ids, total)
            else:
                for posting in total.postings:
                    self._post(router, epoch, posting, again=False)

    def _covered(self, router: Router, epoch: int, ids: tuple[int, ...], total: Total) -> bool:
        for id in ids:
            counter = self._counters.account(id).counter
            used = total.used[counter.unit - 1]
            short = counter.hard and used > self._lease(router, epoch, id).left
            if short or used > USD_NANOS_MAX:
                return False
        return True

    def _post_total(self, router: Router, epoch: int, ids: tuple[int, ...], total: Total) -> None:
        for id in ids:
            counter = self._counters.account(id).counter
            used, lease = total.used[counter.unit - 1], self._lease(router, epoch, id)
            lent = min(used, lease.left)
            counter.post(used=used, lent=lent, debt=0, suspended=lease.suspended)
            lease.spent += lent
            lease.posted += used
            self._changed(lease)
        self._postings += total.postings

    def _post(self, router: Router, epoch: int, posting: Posting, *, again: bool) -> None:
        """Close one attempt of `epoch` at each of its counters, out of what was lent there."""
        for id in posting.counters:
            counter = self._counters.account(id).counter
            held, used = posting.held[counter.unit - 1], posting.used[counter.unit - 1]
            lease = self._lease(router, epoch, id)
            lent = min(held, used, lease.left)
            if again:  # its amount is settled: the lease that it took, a second time, is free
                counter.take_back(lent, suspended=lease.suspended)
                self._tell_freed(id)
            else:
                debt = max(0, used - held)
                counter.post(used=used, lent=lent, debt=debt, suspended=lease.suspended)
                if debt or (counter.hard and lent < used):
                    self._debts.append(Debt(posting.attempt_id, id, debt, used - debt - lent))
            lease.spent += lent
            lease.posted += used
            self._changed(lease)
        if not again:
            self._postings.append(posting)

    def _report(self, router: Router, report: LeaseReport) -> None:
        lease = router.leases.get((router.epoch, report.counter))
        if lease is not None:
            self._take_back(lease, max(0, report.returned - lease.returned))
            if report.closed and not lease.left:
                self._forget(router, lease)

    def _prove(
        self, router: Router, evidence: Evidence, posted: Container[str], done: set[str]
    ) -> None:
        fresh = {
            posting.attempt_id: posting
            for posting in reversed(evidence.postings)  # of two, the first counts
            if posting.attempt_id not in posted and posting.attempt_id not in done
        }
        done.update(fresh)
        self._post_all(router, evidence.epoch, tuple(reversed(fresh.values())), ())
        outstanding = dict(evidence.outstanding)
        for (epoch, id), lease in list(router.leases.items()):
            if epoch == evidence.epoch:
                self._take_back(lease, max(0, lease.left - outstanding.get(id, 0)))
                if not lease.left:
                    self._forget(router, lease)

    def _asked(self, router: Router, ask: LeaseAsk, now_ns: int) -> EscrowCounter | None:
        account = self._counters.named(ask.name, now_ns)
        if account is not None and ask.following and account.bounds.end_ns <= now_ns + AHEAD_NS:
            account = self._counters.named(ask.name, account.bounds.end_ns)
        known = account is not None and (router.epoch, account.counter.id) in router.leases
        return account if known or len(router.leases) < LEASES_MAX else None

    def _lend(self, router: Router, account: EscrowCounter, ask: LeaseAsk, now_ns: int) -> bool:
        """Grant what a Router asks for, as far as it is fair; False where that is not enough."""
        counter = account.counter
        lease = self._lease(router, router.epoch, counter.id)
        self._changed(lease)
        shared = self._shared.get(counter.id)
        if shared is None:
            shared = self._shared[counter.id] = Shared(account.bounds.end_ns)
        shared.asked[router.name] = now_ns
        if not counter.hard:
            return True
        free = max(0, counter.available)
        amount = min(ask.amount, free // (2 * shared.routers(now_ns - INTEREST_NS)))
        if amount < ask.needed:  # what waits now comes before what others may want later
            amount = min(ask.needed, free)
        if amount < ask.minimum:
            amount = 0
        if amount:
            counter.lend(amount)
            lease.granted += amount
        if amount >= ask.needed:
            return True
        shared.denied[router.name] = None
        self._recall(counter.id, but=router.name)
        return False

    def _grant(self, router: Router, account: EscrowCounter, denied: bool) -> LeaseGrant:
        counter = account.counter
        lease = router.leases.get((router.epoch, counter.id))
        return LeaseGrant(
            counter=counter.id,
            name=account.name,
            start_ns=account.bounds.start_ns,
            end_ns=account.bounds.end_ns,
            hard=counter.hard,
            granted=lease.granted if lease is not None else 0,
            limit=counter.limit,
            used=counter.used,
            denied=denied,
        )

    def _take_back(self, lease: Lease, amount: int) -> None:
        if amount:
            counter = self._counters.account(lease.key.counter).counter
            counter.take_back(amount, suspended=lease.suspended)
            lease.returned += amount
            self._changed(lease)
            self._tell_freed(lease.key.counter)

    def _suspend(self, router: Router) -> None:
        for lease in router.leases.values():
            if not lease.suspended:
                self._counters.account(lease.key.counter).counter.suspend(lease.left)
                lease.suspended = True
                self._changed(lease)

    def _revive(self, router: Router) -> None:
        for (epoch, id), lease in router.leases.items():
            if lease.suspended and epoch == router.epoch:
                self._counters.account(id).counter.revive(lease.left)
                lease.suspended = False
                self._changed(lease)

    def _recall(self, id: int, *, but: str) -> None:
        for router in self._routers.values():
            lease = router.leases.get((router.epoch, id))
            if router.name != but and lease is not None and lease.left:
                self._pushes[Push(router.name, id, "recall")] = None

    def _tell_freed(self, id: int) -> None:
        shared = self._shared.get(id)
        if (
            shared is not None
            and shared.denied
            and self._counters.account(id).counter.available > 0
        ):
            for router in shared.denied:
                self._pushes[Push(router, id, "cleared")] = None
            shared.denied.clear()

    def _lease(self, router: Router, epoch: int, id: int) -> Lease:
        lease = router.leases.get((epoch, id))
        if lease is None:
            key = LeaseKey(router.name, epoch, id)
            suspended = epoch != router.epoch
            lease = router.leases[epoch, id] = Lease(LeaseRow(key, 0, 0, 0, 0, suspended))
        return lease

    def _changed(self, lease: Lease) -> None:
        self._changed_leases[lease.key] = lease
        self._forgotten.pop(lease.key, None)
        self._changed_counters.add(lease.key.counter)

    def _forget(self, router: Router, lease: Lease) -> None:
        del router.leases[lease.key.epoch, lease.key.counter]
        self._changed_leases.pop(lease.key, None)
        self._forgotten[lease.key] = None
