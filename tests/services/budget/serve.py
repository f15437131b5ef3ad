"""A Budget service as a process of its own, for tests that kill it: serve.py LEDGER → port."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc

from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.services.budget.service import BudgetServicer
from harmost.services.budget.store import BudgetStore
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.transport import GrpcServer

SERVICE = Principal("router", "", frozenset({"service"}))


def snapshot() -> SimpleNamespace:
    names = {"top": "acme", "leaf": "acme/retail"}
    spec = BudgetSpec(limits=(Limit(window="total", usd="1"), Limit(window="total", tokens=10**9)))
    return SimpleNamespace(
        catalog=SimpleNamespace(
            budgets={
                name: SimpleNamespace(metadata=Metadata(name=name, tenant=tenant), spec=spec)
                for name, tenant in names.items()
            }
        )
    )


async def serve(path: Path) -> None:
    store = BudgetStore(path)
    only = snapshot()
    servicer = BudgetServicer(store, SimpleNamespace(current=lambda: only))

    def register(server: grpc.aio.Server) -> str:
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server)
        return "harmost.budget.v1.BudgetService"

    gate = Gate({"service": SERVICE}.get)
    server = GrpcServer(
        "grpcio", interceptor=gate, register=register, listen="127.0.0.1:0", tls=None
    )
    async with servicer.running():
        await server.start()
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
