"""What is not in records: how full budgets are, and how Routers are; asked when somebody looks."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import grpc

from harmost.budget.v1 import budget_pb2, budget_pb2_grpc
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.snapshots.watcher import SnapshotWatcher
from harmost.services.telemetry.otel.meter import SERIES_MAX, Labels, Meter

__all__ = ["Levels"]

log = logging.getLogger(__name__)

AGE_MAX_S = 1.0  # several who look at once ask once
TIMEOUT_S = 2.0
PAGE_SIZE = 1_000
PAGES_MAX = SERIES_MAX // PAGE_SIZE
NANOS = 1_000_000_000

_BUDGET_KEYS = ("limit", "settled", "held", "leased", "suspense", "debt")
_UNITS = {
    budget_pb2.UNIT_USD_NANOS: "usd",
    budget_pb2.UNIT_TOKENS: "tokens",
    budget_pb2.UNIT_REQUESTS: "requests",
}
_ROUTER_KEYS = ("router_calls", "router_journal", "router_owed", "router_held", "router_generation")

_PROVIDER_KEYS = ("provider_requests", "provider_tokens", "provider_rest")

Metadata = Sequence[tuple[str, str]]


class Levels:
    """Sets gauges of `meter`. `budget` and `routers` are channels; None and none: not asked.

    `snapshots` is where Telemetry itself hears from Policy.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        budget: grpc.aio.Channel | None,
        routers: Sequence[tuple[str, grpc.aio.Channel]],
        metadata: Metadata,
        snapshots: SnapshotWatcher,
    ) -> None:
        self._meter = meter
        self._budgets: list[Any] = [budget_pb2_grpc.BudgetServiceStub(budget)] if budget else []
        self._routers: list[tuple[str, Any]] = [
            (address, router_pb2_grpc.RouterServiceStub(channel)) for address, channel in routers
        ]
        self._names: dict[str, str] = {}  # of Routers that answered, by address
        self._metadata = tuple(metadata)
        self._snapshots = snapshots
        self._asked_s = -AGE_MAX_S
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask anew, unless somebody just did. Never raises: what does not answer has no level."""
        async with self._asking:
            if time.monotonic() - self._asked_s < AGE_MAX_S:
                return
            routers = asyncio.gather(*(self._ask_router(*each) for each in self._routers))
            budgets = asyncio.gather(*map(self._ask_budget, self._budgets))
            stats, pages = await asyncio.gather(routers, budgets)
            self._tell_budgets([budget for page in pages for budget in page])
            self._tell_routers(stats)
            self._tell_snapshot()
            self._asked_s = time.monotonic()

    def _tell_snapshot(self) -> None:
        age_s = self._snapshots.age_s()
        if not math.isinf(age_s):  # the first is here
            self._meter.level("snapshot_age", (), age_s)
            generation = self._snapshots.current().generation
            self._meter.level("snapshot_generation", (), generation)

    async def _ask_budget(self, stub: Any) -> list[budget_pb2.Budget]:
        found: list[budget_pb2.Budget] = []
        request = budget_pb2.ListBudgetsRequest(page_size=PAGE_SIZE)
        try:
            for _ in range(PAGES_MAX):
                answer = await stub.ListBudgets(request, timeout=TIMEOUT_S, metadata=self._metadata)
                found += answer.budgets
                request.page_token = answer.next_page_token
                if not request.page_token:
                    break
        except grpc.aio.AioRpcError as error:
            log.debug("levels of budgets are not known: %s", error.code())
        return found

    def _tell_budgets(self, budgets: Sequence[budget_pb2.Budget]) -> None:
        self._meter.forget(*(f"budget_{key}" for key in _BUDGET_KEYS))
        for budget in budgets:
            self._tell_budget(budget)

    def _tell_budget(self, budget: budget_pb2.Budget) -> None:
        window = budget_pb2.Window.Name(budget.window).removeprefix("WINDOW_").lower()
        labels: Labels = (budget.name, window, _UNITS.get(budget.unit, ""))
        per_unit = NANOS if budget.unit == budget_pb2.UNIT_USD_NANOS else 1
        for key in _BUDGET_KEYS:
            self._meter.level(f"budget_{key}", labels, getattr(budget, key) / per_unit)

    async def _ask_router(self, address: str, stub: Any) -> router_pb2.GetStatsResponse | None:
        try:
            stats: router_pb2.GetStatsResponse = await stub.GetStats(
                router_pb2.GetStatsRequest(), timeout=TIMEOUT_S, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            log.debug("a router at %s does not answer: %s", address, error.code())
            return None
        self._names[address] = stats.router_id
        return stats

    def _tell_routers(self, found: Sequence[router_pb2.GetStatsResponse | None]) -> None:
        # Anew: one that was only known by its address may have told its name by now.
        self._meter.forget("router_up", *_ROUTER_KEYS, *_PROVIDER_KEYS)
        for (address, _), stats in zip(self._routers, found, strict=True):
            name = self._names.get(address, address)
            self._meter.level("router_up", (name,), int(stats is not None))
            if stats is None:
                continue
            levels = (
                stats.calls_live,
                stats.journal_bytes,
                stats.settlements_owed,
                stats.held_usd_nanos / NANOS,
                stats.snapshot_generation,
            )
            for key, value in zip(_ROUTER_KEYS, levels, strict=True):
                self._meter.level(key, (name,), value)
            for limits in stats.provider_limits:
                self._tell_limits(name, limits)

    def _tell_limits(self, router: str, told: router_pb2.ProviderLimits) -> None:
        labels = (router, told.provider, told.vendor_model_id, told.region)
        if told.HasField("requests_left"):
            self._meter.level("provider_requests", labels, told.requests_left)
        if told.HasField("tokens_left"):
            self._meter.level("provider_tokens", labels, told.tokens_left)
        self._meter.level("provider_rest", labels, told.rest_ns / NANOS)
