"""The ledger of a world of money as it really is: the Budget service's store over SQLite.

Its disk is a simulated one: a restart is a power cut. Nothing of the service is replaced but its
thread, its sockets and its clock.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import apsw
import msgspec
from faulty_disk import FaultyDisk
from money_host import Direct, Disk

from harmost.core.budget.lease import Amounts, Posting, Push, SyncAnswer, SyncRequest
from harmost.core.budget.lending import Debt
from harmost.core.budget.nodes import Amount, BudgetLimits, BudgetPath, Unit
from harmost.core.errors import HarmostError, NotFound
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.counters import Account
from harmost.services.budget.requests import (
    Adjustment,
    Closing,
    LeaseSync,
    Proof,
    Reservation,
    Settlement,
)
from harmost.services.budget.rows import Entry, EntryKind, EntryQuestion
from harmost.services.budget.store import BudgetStore, _Job

__all__ = ["StoreHost"]

T = TypeVar("T")

ENTRIES_MAX = 100_000
_decode_memo = msgspec.json.Decoder(tuple[BudgetPath, int]).decode


class _Answer:
    """Stands for a caller that waits: the store asks whether it has gone."""

    def cancelled(self) -> bool:
        return False


class _Found:
    """The counters of the store's accounts, as a world looks at them."""

    def __init__(self, host: "StoreHost") -> None:
        self._host = host

    @property
    def accounts(self) -> dict[int, Account]:
        return self._host.memory()._counters._by_id

    def account(self, id: int) -> Account:
        try:
            return self._host.memory()._counters.account(id)
        except (KeyError, NotFound):
            raise NotFound(f"counter `{id}`") from None


class StoreHost:
    """A Budget service's store that a world drives; the face of `LedgerHost`."""

    def __init__(
        self,
        limits: BudgetLimits,
        now_ns: Callable[[], int],
        clock_ns: Callable[[], int],
        disk: FaultyDisk,
        random: Random,
        path: Path,
    ) -> None:
        self.limits = limits
        self.fail_commit = False
        self.debts: list[Debt] = []
        self.crashes = 0
        self._now_ns = now_ns
        self._clock_ns = clock_ns
        self._device = disk
        self._random = random
        self._path = path
        self._store = self._open()
        self._seen: Disk | None = None
        self._corrections = 0
        self.counters = _Found(self)

    # --- Its life -------------------------------------------------------------------------------------

    def _open(self) -> BudgetStore:
        store = BudgetStore(self._path, now_ns=self._now_ns, clock_ns=self._clock_ns)
        store.limits = self.limits
        return store

    def restart(self) -> None:
        """A power cut: what was not synced may be lost, kept or torn."""
        self._device.crash(self._random)
        self._store.close()
        self._store = self._open()
        self._seen = None
        self.crashes += 1

    def close(self) -> None:
        self._store.close()

    def memory(self) -> Accounts:
        """The accounts as they are in memory, read anew where a failure dropped them."""
        if self._store._accounts is None:
            self._run(lambda accounts, now: None)
        accounts = self._store._accounts
        assert accounts is not None
        return accounts

    def journal_hash(self) -> str:
        """Of every row and every lease, in order."""
        file = self._store._file
        rows = file.page(EntryQuestion(), after=0, rows_max=ENTRIES_MAX)[0]
        content = msgspec.msgpack.encode((rows, sorted(file.leases(), key=lambda row: row.key)))
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    # --- What is asked of it --------------------------------------------------------------------------

    def register(self, router: str) -> int:
        return self._run(lambda accounts, now: accounts.leases.register(router, now_ns=now))

    def sync(self, request: SyncRequest) -> SyncAnswer:
        said = LeaseSync(
            router=request.router,
            epoch=request.epoch,
            sequence=request.sequence,
            reports=request.reports,
            asks=request.asks,
            rates=request.rates,
            attempts=tuple(map(_closing, request.postings)),
            proofs=tuple(
                Proof(proof.epoch, tuple(map(_closing, proof.postings)), proof.outstanding, False)
                for proof in request.evidence
            ),
        )
        synced = self._run(lambda accounts, now: accounts.sync(said, now_ns=now))
        assert not synced.refused
        return synced.answer

    def reserve(self, attempt_id: str, where: BudgetPath, amounts: Amounts) -> tuple[int, ...]:
        wanted = Reservation(attempt_id, where, "m", Amount(amounts.usd_nanos, amounts.tokens))
        self.fail_commit = self._random.random() < 0.05
        self._run(lambda accounts, now: accounts.reserve(wanted, within="", now_ns=now))
        return self.disk.direct[attempt_id].counters

    def settle(self, attempt_id: str, used: Amounts) -> None:
        if any(used):
            settled = Settlement(attempt_id, Amount(used.usd_nanos, used.tokens))
            self._run(lambda accounts, now: accounts.settle(settled, within="", now_ns=now))
        else:
            self._run(lambda accounts, now: accounts.void(attempt_id, within="", now_ns=now))

    def adjust(self, id: int, delta: int) -> None:
        account, now_ns = self.counters.account(id), self._now_ns()
        if not account.bounds.start_ns <= now_ns < account.bounds.end_ns:
            return  # people correct what is current
        self._corrections += 1
        wanted = Adjustment(
            f"c{self._corrections}",
            account.name.budget,
            delta,
            "a person",
            "a reason",
            Unit(account.name.unit),
            account.name.window,
        )
        self._run(lambda accounts, now: accounts.adjust(wanted, within="", now_ns=now))

    def use(self, limits: BudgetLimits) -> None:
        self.limits = self._store.limits = limits
        self._run(lambda accounts, now: None)

    def expire(self) -> None:
        self._run(lambda accounts, now: accounts.leases.expire(now_ns=now))

    def pushes(self) -> tuple[Push, ...]:
        pushes, self._pushes = self._pushes, ()
        return pushes

    _pushes: tuple[Push, ...] = ()

    @property
    def escrow(self) -> Any:
        return self.memory().leases._escrow

    @property
    def holds(self) -> set[str]:
        return set(self.disk.direct)

    # --- What it kept ---------------------------------------------------------------------------------

    @property
    def disk(self) -> Disk:
        """What the file says now."""
        if self._seen is None:
            self._seen = self._read()
        return self._seen

    def _read(self) -> Disk:
        file, disk = self._store._file, Disk()
        disk.leases = {row.key: row for row in file.leases()}
        disk.routers = {row.router: row for row in file.routers()}
        for hold in file.open_holds():
            entry = hold.entry
            held = Amounts(entry.held_usd_nanos, entry.held_tokens, entry.held_requests)
            disk.direct[entry.key] = Direct(entry.key, entry.counters, held)
        for entry in file.page(EntryQuestion(), after=0, rows_max=ENTRIES_MAX)[0]:
            if entry.kind in (EntryKind.SETTLE, EntryKind.VOID):
                assert entry.key not in disk.postings, "I7: an attempt closes once"
                disk.postings[entry.key] = _posting(entry)
            elif entry.kind is EntryKind.ADJUST:
                (id,) = entry.counters
                sums = (entry.settled_usd_nanos, entry.settled_tokens, entry.settled_requests)
                disk.adjusted[id] = disk.adjusted.get(id, 0) + sum(sums)
        return disk

    def _run(self, work: Callable[[Accounts, int], T]) -> T:
        """One transaction of the store, as its writer thread would make it."""
        if self.fail_commit:
            self.fail_commit = False
            self._device.error = self._random.choice((apsw.IOError, apsw.FullError))
            self._device.fail_after = self._random.randrange(12)
        self._seen = None
        try:
            answers, pushes = self._store._commit([_Job(work, _Answer())])  # type: ignore[arg-type]
        except apsw.Error as error:
            raise OSError(str(error)) from error
        finally:
            self._device.fail_after = None
        self._pushes += pushes
        (answer,) = answers
        if isinstance(answer, HarmostError):
            raise answer
        return answer


def _closing(posting: Posting) -> Closing:
    path, admitted_ns = _decode_memo(posting.memo)
    return Closing(
        attempt_id=posting.attempt_id,
        path=path,
        model="m",
        held=Amount(posting.held.usd_nanos, posting.held.tokens),
        amount=Amount(posting.used.usd_nanos, posting.used.tokens),
        usage=None,
        counters=posting.counters,
        admitted_ns=admitted_ns,
        void=not any(posting.used),
    )


def _posting(entry: Entry) -> Posting:
    used = Amounts(entry.settled_usd_nanos, entry.settled_tokens, entry.settled_requests)
    held = Amounts(
        used.usd_nanos - entry.debt_usd_nanos, used.tokens - entry.debt_tokens, used.requests
    )
    return Posting(entry.key, entry.counters, held, used)
