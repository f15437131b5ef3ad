"""A Budget service as a process of its own, for tests that kill it: serve.py LEDGER [PORT DOCUMENTS].

DOCUMENTS is JSON: tenant and limits of each `Budget` by its name. Prints its port.
"""

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.services.budget.service import BudgetServicer
from harmost.services.budget.store import BudgetStore
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.transport import GrpcServer

SERVICE = Principal("router", "", frozenset({"service"}))


DOLLAR = [{"window": "total", "usd": "1"}, {"window": "total", "tokens": 10**9}]
DOCUMENTS = {"top": ("acme", DOLLAR), "leaf": ("acme/retail", DOLLAR)}


def snapshot(documents: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(
        catalog=SimpleNamespace(
            budgets={
                name: SimpleNamespace(
                    metadata=Metadata(name=name, tenant=tenant),
                    spec=BudgetSpec(limits=tuple(Limit(**limit) for limit in limits)),
                )
                for name, (tenant, limits) in documents.items()
            }
        )
    )


async def serve(path: Path, port: int, documents: dict[str, Any]) -> None:
    store = BudgetStore(path)
    only = snapshot(documents)
    servicer = BudgetServicer(store, SimpleNamespace(current=lambda: only))

    def register(server: grpc.aio.Server) -> str:
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server)
        return "harmost.budget.v1.BudgetService"

    gate = Gate({"service": SERVICE}.get)
    server = GrpcServer(
        "wire", interceptor=gate, register=register, listen=f"127.0.0.1:{port}", tls=None
    )
    async with servicer.running():
        await server.start()
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    given = sys.argv[2:]
    asyncio.run(
        serve(
            Path(sys.argv[1]),
            int(given[0]) if given else 0,
            json.loads(given[1]) if given else DOCUMENTS,
        )
    )
