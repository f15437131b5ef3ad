"""A ledger and one Router's book of leases, with a clock for both, driven by hand."""

from money_host import LedgerHost
from money_limits import limits
from money_world import PATHS, S_NS, START_NS

from harmost.core.budget.lease import Amounts, LeaseName, SyncAnswer
from harmost.core.budget.leases import LeaseBook, Miss
from harmost.core.budget.ledger import Hold
from harmost.core.budget.nodes import Amount, compile_limits
from harmost.core.budget.router_lease import Lease
from harmost.core.resources.kinds import BudgetSpec, Metadata

__all__ = ["LEAST", "ONE", "PATH", "Rig"]

PATH = PATHS[0]
ONE = Amount(100_000, 100)
LEAST = Amount(50_000, 50)


class Rig:
    """A ledger and one Router's book, with a clock for both. The ledger can be cut off."""

    def __init__(self, budget: BudgetSpec | None = None) -> None:
        self.now_ns = START_NS
        self.reachable = True
        known = limits()
        if budget is not None:
            known = compile_limits({"b": (Metadata(name="b", tenant="org"), budget)})
        self.host = LedgerHost(known, lambda: self.now_ns)
        self.book = self.new_book("r")
        self.attempts = 0

    def new_book(self, name: str) -> LeaseBook:
        book = LeaseBook(name, epoch=self.host.register(name))
        book.use(self.host.limits)
        return book

    @property
    def clock_ns(self) -> int:
        return self.now_ns - START_NS

    def reserve(
        self, amount: Amount = ONE, least: Amount = LEAST, *, book: LeaseBook | None = None
    ) -> Hold | Miss:
        return (book or self.book).reserve(PATH, amount, least, clock_ns=self.clock_ns)

    def held(self, amount: Amount = ONE, least: Amount = LEAST) -> Hold:
        """With as many messages as a Router would send."""
        for _ in range(3):
            held = self.reserve(amount, least)
            if isinstance(held, Hold):
                return held
            self.sync()
        raise AssertionError("not admitted")

    def settle(self, hold: Hold, usd_nanos: int = 1_000, tokens: int = 10) -> None:
        self.attempts += 1
        self.book.settle(f"t{self.attempts}", hold, Amounts(usd_nanos, tokens, 1))

    def sync(self, book: LeaseBook | None = None) -> SyncAnswer | None:
        book = book or self.book
        request = book.request(clock_ns=self.clock_ns)
        if not self.reachable:
            return None
        answer = self.host.sync(request)
        book.apply(answer, clock_ns=self.clock_ns)
        return answer

    def seconds(self, seconds: int, *, attempts: int = 0) -> None:
        for _ in range(seconds):
            self.now_ns += S_NS
            for _ in range(attempts):
                self.settle(self.held())
            if self.book.wants_message(self.clock_ns):
                self.sync()

    def lease(self, name: LeaseName) -> Lease:
        return next(lease for lease in self.book.every_lease() if lease.name == name)
