"""Levels of budgets and Routers, asked from real servers when somebody looks."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from harmost.budget.v1 import budget_pb2, budget_pb2_grpc
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.telemetry.otel import levels as levels_module
from harmost.services.telemetry.otel.levels import Levels
from harmost.services.telemetry.otel.meter import Meter
from harmost.services.telemetry.otel.vendors import Vendors

DOWN = "127.0.0.1:1"


class Both(budget_pb2_grpc.BudgetServiceServicer, router_pb2_grpc.RouterServiceServicer):
    """Two pages of budgets, and a Router."""

    def __init__(self) -> None:
        self.asked = 0
        self.address = ""

    async def ListBudgets(self, request: Any, context: Any) -> Any:
        number = int(request.page_token or 0)
        budget = budget_pb2.Budget(
            name=f"b{number}",
            unit=budget_pb2.UNIT_TOKENS if number else budget_pb2.UNIT_USD_NANOS,
            window=budget_pb2.WINDOW_DAY,
            limit=2_500_000_000,
            settled=5,
        )
        token = "" if number else "1"
        return budget_pb2.ListBudgetsResponse(budgets=[budget], next_page_token=token)

    async def GetStats(self, request: Any, context: Any) -> Any:
        self.asked += 1
        return router_pb2.GetStatsResponse(
            router_id="router-0", calls_live=3, journal_bytes=4_096, held_usd_nanos=10**9
        )


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    servicer, server = Both(), grpc.aio.server()
    budget_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server)
    router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


def made(meter: Meter, budget: grpc.aio.Channel | None, *routers: tuple[str, Any]) -> Levels:
    snapshots: Any = SimpleNamespace(
        age_s=lambda: 2.5, current=lambda: SimpleNamespace(generation=7)
    )
    return Levels(meter, budget=budget, routers=routers, metadata=(), snapshots=snapshots)


def points(meter: Meter) -> dict[str, Any]:
    return {series.key: dict(series.points) for series in meter.series() if series.points}


async def test_levels_are_those_that_are_told(both: Both) -> None:
    meter = Meter(Vendors())
    async with grpc.aio.insecure_channel(both.address) as channel:
        await made(meter, channel, (both.address, channel)).refresh()
    told = points(meter)
    assert told["budget_limit"] == {
        ("b0", "day", "usd"): 2.5,
        ("b1", "day", "tokens"): 2_500_000_000,
    }
    assert told["budget_settled"]["b0", "day", "usd"] == 5e-9
    assert told["router_up"] == {("router-0",): 1}
    assert told["router_journal"] == {("router-0",): 4_096}
    assert told["router_held"] == {("router-0",): 1}
    assert (told["snapshot_generation"], told["snapshot_age"]) == ({(): 7}, {(): 2.5})


async def test_several_who_look_at_once_ask_once(both: Both) -> None:
    async with grpc.aio.insecure_channel(both.address) as channel:
        levels = made(Meter(Vendors()), None, (both.address, channel))
        await levels.refresh()
        await levels.refresh()
    assert both.asked == 1


async def test_a_router_that_is_known_by_its_address_alone_is_told_by_name_once_it_answers(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels_module, "AGE_MAX_S", 0.0)
    meter = Meter(Vendors())
    async with (
        grpc.aio.insecure_channel(both.address) as up,
        grpc.aio.insecure_channel(DOWN) as down,
    ):
        levels = made(meter, down, (both.address, down))
        await levels.refresh()
        assert points(meter)["router_up"] == {(both.address,): 0}
        assert "budget_limit" not in points(meter)
        levels._routers = [(both.address, router_pb2_grpc.RouterServiceStub(up))]
        await levels.refresh()
        assert points(meter)["router_up"] == {("router-0",): 1}
        levels._routers = [(both.address, router_pb2_grpc.RouterServiceStub(down))]
        await levels.refresh()
    assert points(meter)["router_up"] == {("router-0",): 0}
    assert "router_calls" not in points(meter)
