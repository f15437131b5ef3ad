"""Between the core's escrow and the ledger's rows: what Routers lease, what they closed, which keys.

Part of the accounts (accounts.py): one thread, no clock, inside a transaction.
"""

import logging
from collections.abc import Callable, Iterable

from harmost.core.budget.escrow import Escrow
from harmost.core.budget.lease import Amounts, Evidence, Posting, Push, SyncRequest
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.rates import Rates
from harmost.core.errors import AlreadyExists, Conflict, InvalidInput
from harmost.services.budget.counters import Account, Counters
from harmost.services.budget.intake import Charged, Intake
from harmost.services.budget.ledger import Ledger
from harmost.services.budget.requests import KeyClaim, LeaseSync, Suspense, Synced
from harmost.services.budget.rows import Entry, EntryKind, KeyRow

__all__ = ["Leases"]

log = logging.getLogger(__name__)

DAY_NS = 24 * 3_600 * 10**9
# A key is kept so long after its call ended, and if its Router never says so, after it was claimed.
KEY_LIFE_NS = DAY_NS
KEY_LIFE_UNENDED_NS = 7 * DAY_NS
# At once, so that the writer is not held up: 10 ms.
KEYS_FORGOTTEN_MAX = 1_000


class Leases:
    """Everything lent by one ledger. `append` writes a row and says which balances it changed.

    `clock_ns` is monotonic: `rates` go by it.
    """

    def __init__(
        self,
        file: Ledger,
        counters: Counters,
        append: Callable[[Entry], None],
        next_sequence: Callable[[], int],
        rates: Rates,
        *,
        now_ns: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._file = file
        self._counters = counters
        self._append = append
        self._next_sequence = next_sequence
        self._held: dict[str, dict[int, int]] = {}  # as Routers tell it
        routers = file.routers()
        self._epochs = {row.router: row.epoch for row in routers}
        self._clock_ns = clock_ns
        self._escrow = Escrow(counters, rates)
        self._escrow.restore(routers, file.leases(), now_ns=now_ns, clock_ns=clock_ns())

    def register(self, router: str, *, now_ns: int) -> int:
        """The Router's new epoch; what it had goes to suspense."""
        self._held.pop(router, None)
        epoch = self._epochs[router] = self._escrow.register(router, now_ns=now_ns)
        self._write({}, now_ns)
        return epoch

    def sync(self, said: LeaseSync, *, now_ns: int) -> Synced:
        """Take in a Router's message and lend it what it asks for; InvalidInput changes nothing."""
        intake = Intake(self._counters, now_ns)
        request = SyncRequest(
            router=said.router,
            epoch=said.epoch,
            sequence=said.sequence,
            reports=said.reports,
            asks=said.asks,
            rates=said.rates,
            postings=intake.postings(said.attempts),
            evidence=tuple(
                Evidence(
                    proof.epoch,
                    intake.postings(proof.attempts),
                    self._all_of(said.router, proof.epoch) if proof.partial else proof.outstanding,
                )
                for proof in said.proofs
            ),
        )
        before = self._file.closed_among(intake.charged)
        answer = self._escrow.sync(request, now_ns=now_ns, clock_ns=self._clock_ns(), posted=before)
        if answer.status == "applied":
            self._held[said.router] = dict(said.held)
            self._file.end_keys(said.ended_records, now_ns)
            self._file.release_keys(said.released_records)
        self._write(intake.charged, now_ns)
        return Synced(answer, tuple(intake.refused))

    def expire(self, *, now_ns: int) -> None:
        """Move what silent Routers have to suspense, and forget old keys."""
        for router in self._escrow.expire(now_ns=now_ns):
            self._held.pop(router, None)
            log.warning("router %s is silent: its leases are in suspense", router)
        self._write({}, now_ns)
        self._file.forget_keys(
            ended_before_ns=now_ns - KEY_LIFE_NS,
            claimed_before_ns=now_ns - KEY_LIFE_UNENDED_NS,
            rows_max=KEYS_FORGOTTEN_MAX,
        )

    def write_off(
        self, router: str, epoch: int, *, author: str, reason: str, now_ns: int
    ) -> list[Entry]:
        """Settle what an epoch left in suspense, by a row for each balance; NotFound, InvalidInput."""
        left = [(id, amount) for id, amount in self._all_of(router, epoch) if amount]
        postings = tuple(
            Posting(_write_off_key(router, epoch, id), (id,), whole, whole)
            for id, amount in left
            for whole in (_in_unit(self._counters.account(id), amount),)
        )
        self._escrow.prove(router, Evidence(epoch, postings, ()))
        entries = [
            self._written_off(router, epoch, id, amount, author, reason, now_ns)
            for id, amount in left
        ]
        self._write({}, now_ns)
        return entries

    def suspense(self, router: str) -> list[Suspense]:
        """What `router`, or with "" any Router, left in suspense, by Router and epoch. O(leases)."""
        return [
            Suspense(
                key.router,
                key.epoch,
                ended=key.epoch < self._epochs[key.router],
                name=account.name,
                start_ns=account.bounds.start_ns,
                amount=row.left,
            )
            for row in sorted(self._escrow.leases(), key=lambda row: row.key)
            for key in (row.key,)
            if row.suspended and row.left and router in ("", key.router)
            for account in (self._counters.account(key.counter),)
        ]

    def claim(self, claim: KeyClaim, *, now_ns: int) -> None:
        """Make a key stand for a call. Conflict, AlreadyExists or InvalidInput where it does already."""
        known = self._file.key(claim.owner, claim.key)
        if known is not None and not _forgotten(known, now_ns):
            self._refuse_known(known, claim)
            return
        self._file.claim_key(KeyRow(*claim, claimed_ns=now_ns, ended_ns=0))

    def limits_changed(self, ids: Iterable[int]) -> None:
        """Counters whose ceilings are others now: Routers are told."""
        self._escrow.limits_changed(ids)

    def freed(self, ids: Iterable[int]) -> None:
        """Counters where something became free by other means: Routers that were denied are told."""
        self._escrow.freed(ids)

    def recall(self, ids: Iterable[int]) -> None:
        """Counters that a program needs more of: Routers are asked for what is idle."""
        for id in ids:
            self._escrow.recall(id)

    def pushes(self) -> tuple[Push, ...]:
        """What Routers are to be told unasked, since the last time; after the commit."""
        return self._escrow.pushes()

    def counter_ids(self) -> set[int]:
        """Counters that leases are of: they stay in memory."""
        return {row.key.counter for row in self._escrow.leases()}

    def held_of(self, id: int) -> int:
        """What attempts of Routers hold of a counter, as far as they told."""
        return sum(held.get(id, 0) for held in self._held.values())

    def _all_of(self, router: str, epoch: int) -> tuple[tuple[int, int], ...]:
        return tuple(
            (row.key.counter, row.left)
            for row in self._file.leases()
            if (row.key.router, row.key.epoch) == (router, epoch)
        )

    def _write(self, charged: dict[str, Charged], now_ns: int) -> None:
        """Turn what changed into rows."""
        effects = self._escrow.effects()
        for debt in effects.debts:
            log.warning(
                "attempt %s used %d more than it held and %d that was not lent, of counter %d: the "
                "provider of %s did not honour its cap, or a limit became hard",
                *(debt.attempt_id, debt.above_hold, debt.not_lent, debt.counter),
                charged[debt.attempt_id].closing.model,
            )
        for posting in effects.postings:
            if posting.attempt_id in charged:  # else it is written off: its row is another
                self._post(charged[posting.attempt_id], now_ns)
        self._counters.changed(effects.counters)
        self._file.save_routers(effects.routers)
        self._file.save_leases(effects.leases, effects.forgotten)

    def _post(self, charged: Charged, now_ns: int) -> None:
        closing, used, debt = charged.closing, charged.used, charged.debt
        for account in charged.soft:
            unit = account.counter.unit - 1
            account.counter.post(used=used[unit], lent=0, debt=debt[unit], suspended=False)
        self._append(
            Entry(
                sequence=self._next_sequence(),
                kind=EntryKind.SETTLE,
                key=closing.attempt_id,
                fingerprint=b"",
                created_ns=now_ns,
                path=closing.path,
                model=closing.model,
                price_unknown=closing.amount.price_unknown,
                settled_usd_nanos=used.usd_nanos,
                settled_tokens=used.tokens,
                settled_requests=used.requests,
                debt_usd_nanos=debt.usd_nanos,
                debt_tokens=debt.tokens,
                counters=(*charged.leased, *(account.counter.id for account in charged.soft)),
                usage=closing.usage,
                price_version=closing.price_version,
            )
        )

    def _written_off(
        self,
        router: str,
        epoch: int,
        id: int,
        amount: int,
        author: str,
        reason: str,
        now_ns: int,
    ) -> Entry:
        account = self._counters.account(id)
        settled = _in_unit(account, amount)
        entry = Entry(
            sequence=self._next_sequence(),
            kind=EntryKind.ADJUST,
            key=_write_off_key(router, epoch, id),
            fingerprint=b"",
            created_ns=now_ns,
            path=BudgetPath(self._counters.tenant_of(account.name.budget)),
            settled_usd_nanos=settled.usd_nanos,
            settled_tokens=settled.tokens,
            settled_requests=settled.requests,
            counters=(id,),
            budget=account.name.budget,
            author=author,
            reason=reason,
        )
        self._append(entry)
        return entry

    def _refuse_known(self, known: KeyRow, claim: KeyClaim) -> None:
        if known.digest != claim.digest:
            raise InvalidInput(
                f"idempotency key `{known.key}` was used for another request: use a new key"
            )
        if known.record_id == claim.record_id:
            return  # the same claim again: its answer was lost
        if not known.ended_ns and self._epochs.get(known.router, 0) <= known.epoch:
            raise Conflict(
                f"the call with idempotency key `{known.key}` is still running: wait for it"
            )
        raise AlreadyExists(
            f"the call with idempotency key `{known.key}` was made: see record `{known.record_id}`",
            details={"record_id": known.record_id},
        )


def _in_unit(account: Account, amount: int) -> Amounts:
    amounts = [0, 0, 0]
    amounts[account.counter.unit - 1] = amount
    return Amounts(*amounts)


def _write_off_key(router: str, epoch: int, id: int) -> str:
    return f"suspense-{router}-{epoch}-{id}"


def _forgotten(key: KeyRow, now_ns: int) -> bool:
    if key.ended_ns:
        return key.ended_ns < now_ns - KEY_LIFE_NS
    return key.claimed_ns < now_ns - KEY_LIFE_UNENDED_NS
