"""What a worker counts of itself, and its answer to `GetStats`. Costs the path of a token nothing."""

import os
import time
from collections.abc import Iterator

from harmost.core.audit.rows import RecordSummary
from harmost.core.routing.health import Health
from harmost.core.stats.histogram import Histogram
from harmost.router.v1 import router_pb2
from harmost.services.router.attempt import Attempt, AttemptTools

__all__ = ["Stats"]


class Stats:
    """Counts since the worker began. Pieces of running answers are counted when somebody asks."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()
        self._live: set[Attempt] = set()
        self._deltas = 0  # of attempts that ended
        self._calls = 0
        self._failed = 0
        self._added = Histogram()

    def call_begun(self) -> None:
        """A call was admitted."""
        self._calls += 1

    def call_ended(self, record: RecordSummary) -> None:
        """A call has its record."""
        self._failed += record.status != "completed"
        if record.first_token_ns:
            self._added.add(record.added_ns)

    def attempt_begun(self, attempt: Attempt) -> None:
        """An attempt may relay from now on."""
        self._live.add(attempt)

    def attempt_ended(self, attempt: Attempt) -> None:
        """It relays no more."""
        self._live.discard(attempt)
        self._deltas += attempt.exchange.deltas

    def answer(
        self, *, router_id: str, calls_live: int, tools: AttemptTools, generation: int
    ) -> router_pb2.GetStatsResponse:
        """Everything, as of now. O(live attempts)."""
        held = tools.budget.held
        return router_pb2.GetStatsResponse(
            router_id=router_id,
            pid=os.getpid(),
            uptime_ns=time.monotonic_ns() - self._began_ns,
            calls_live=calls_live,
            calls=self._calls,
            calls_failed=self._failed,
            deltas=self._deltas + sum(attempt.exchange.deltas for attempt in self._live),
            added_histogram=self._added.counts,
            attempts_held=len(held),
            held_usd_nanos=sum(held.values()),
            settlements_owed=tools.budget.owed,
            journal_bytes=tools.journal.size_bytes,
            snapshot_generation=generation,
            provider_limits=_limits(tools.health, time.monotonic()),
        )


def _limits(health: Health, now_s: float) -> Iterator[router_pb2.ProviderLimits]:
    for place, told in health.places():
        yield router_pb2.ProviderLimits(
            provider=place.provider,
            region=place.region,
            vendor_model_id=place.vendor_model_id,
            requests_left=told.requests_left,
            tokens_left=told.tokens_left,
            rest_ns=round(told.rest_s(now_s) * 1e9),
        )
