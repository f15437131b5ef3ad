"""The proof: what the provider's own books say was billed, against what the ledger settled."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from harmost.budget.v1 import budget_pb2
from harmost.client.errors import Unreachable
from harmost.core.errors import InvalidInput
from harmost.services.operate.session import Session

__all__ = ["Books", "Line", "Proof", "compare", "prove", "settled_lines"]

TIMEOUT_S = 30.0
# Settlements are durable before `finished`; only those of broken calls may still be on their way.
PATIENCE_S = 10.0
POLL_S = 0.5
LEDGER_PAGE = 10_000
PAGES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Line:
    """What one attempt cost, by one side's books."""

    input_tokens: int
    output_tokens: int
    usd_nanos: int

    @property
    def nothing(self) -> bool:
        """No tokens, no money: such an attempt may be missing on the other side."""
        return not (self.input_tokens or self.output_tokens or self.usd_nanos)


NOTHING = Line(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Proof:
    """Sums of both sides and every attempt on which they differ: id, billed, settled."""

    attempts: int
    billed: Line
    settled: Line
    billed_attempts: int
    settled_attempts: int
    differences: tuple[tuple[str, Line | None, Line | None], ...]

    @property
    def holds(self) -> bool:
        """Both sides are equal, attempt for attempt."""
        return not self.differences


def compare(
    billed: Mapping[str, Line], settled: Mapping[str, Line], *, attempts: Iterable[str]
) -> Proof:
    """Set the two sides against each other, for `attempts` and every one that was billed."""
    wanted = sorted(set(attempts) | set(billed))
    ours = {attempt: settled[attempt] for attempt in wanted if attempt in settled}
    theirs = {attempt: billed[attempt] for attempt in wanted if attempt in billed}
    differences = tuple(
        (attempt, theirs.get(attempt), ours.get(attempt))
        for attempt in wanted
        if theirs.get(attempt, NOTHING) != ours.get(attempt, NOTHING)
    )
    return Proof(
        attempts=len(wanted),
        billed=_sum(theirs.values()),
        settled=_sum(ours.values()),
        billed_attempts=sum(not line.nothing for line in theirs.values()),
        settled_attempts=sum(not line.nothing for line in ours.values()),
        differences=differences,
    )


class Row(msgspec.Struct):
    """A closed attempt in the sandbox's books; other fields are of no interest here."""

    attempt_id: str
    input_tokens: int
    output_tokens: int
    cost_usd_nanos: int


class Page(msgspec.Struct):
    """A page of the sandbox's books."""

    attempts: list[Row]
    next: int
    more: bool


class Books:
    """The sandbox's books at `address`, read over HTTP from where they ended when this was made."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/usage"
        self._since = 0
        for page in self._pages():
            self._since = page.next

    def lines(self) -> dict[str, Line]:
        """What was billed since."""
        return {
            row.attempt_id: Line(row.input_tokens, row.output_tokens, row.cost_usd_nanos)
            for page in self._pages()
            for row in page.attempts
        }

    def _pages(self) -> Iterator[Page]:
        since = self._since
        for _ in range(PAGES_MAX):
            try:
                with urlopen(f"{self._url}?since={since}", timeout=TIMEOUT_S) as answer:
                    page = msgspec.json.decode(answer.read(), type=Page)
            except (URLError, TimeoutError) as error:
                raise Unreachable(
                    f"the sandbox does not answer at `{self._url}`: is `harmost up` running with "
                    "its sandbox? `--no-proof` plays without"
                ) from error
            except msgspec.MsgspecError as error:
                raise InvalidInput(
                    f"what answers at `{self._url}` is no sandbox: {error}"
                ) from error
            yield page
            if not page.more:
                return
            since = page.next


def settled_lines(budget: Session) -> dict[str, Line]:
    """Every SETTLE row of the ledger that the key may see, by attempt. O(ledger)."""
    request = budget_pb2.ListEntriesRequest(page_size=LEDGER_PAGE)
    return {
        entry.attempt_id: Line(
            entry.usage.input_tokens, entry.usage.output_tokens, entry.amount.usd_nanos
        )
        for page in budget.pages("ListEntries", request)
        for entry in page.entries
        if entry.kind == budget_pb2.ENTRY_KIND_SETTLE
    }


def prove(
    books: Books,
    budget: Session,
    attempts: Iterable[str],
    *,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], Any] = time.sleep,
) -> Proof:
    """The proof over `attempts`; looks again for `patience_s` while the sides differ."""
    deadline = time.monotonic() + patience_s
    wanted = tuple(attempts)
    while True:
        proof = compare(books.lines(), settled_lines(budget), attempts=wanted)
        if proof.holds or time.monotonic() > deadline:
            return proof
        sleep(POLL_S)


def _sum(lines: Iterable[Line]) -> Line:
    total = [0, 0, 0]
    for line in lines:
        total[0] += line.input_tokens
        total[1] += line.output_tokens
        total[2] += line.usd_nanos
    return Line(*total)
