"""A Router's side of SyncLeases, played by hand."""

import asyncio
from typing import Any

import grpc

from harmost.budget.v1 import budget_pb2 as pb
from harmost.services.interceptors.errors import error_of
from harmost.services.transport import bearer

__all__ = ["Router", "ask"]

USD = pb.UNIT_USD_NANOS


class Router:
    """A Router that says what the test tells it to."""

    def __init__(self, budget: Any, name: str = "r") -> None:
        self.name = name
        self.epoch = 0
        self.sequence = 0
        self.pushes: list[pb.SyncLeasesResponse] = []
        self._call = budget.stub.SyncLeases(metadata=bearer("service"))

    async def send(self, **fields: Any) -> pb.SyncLeasesResponse:
        """One message as it is, and its answer."""
        fields = {"router_id": self.name, "epoch": self.epoch, **fields}
        try:
            await self._call.write(pb.SyncLeasesRequest(**fields))
            while True:
                answer = await asyncio.wait_for(self._call.read(), 10)
                if answer.status != pb.SYNC_STATUS_UNSPECIFIED:
                    return answer
                self.pushes.append(answer)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, service="Budget") from None

    async def register(self) -> int:
        self.epoch = (await self.send(epoch=0)).epoch
        self.sequence = 0
        return self.epoch

    async def say(self, **fields: Any) -> pb.SyncLeasesResponse:
        """The next message."""
        self.sequence += 1
        answer = await self.send(sequence=self.sequence, **fields)
        assert answer.status == pb.SYNC_STATUS_APPLIED
        return answer

    async def ask(self, amount: int, minimum: int = 0, **more: Any) -> pb.Lease:
        """More of the day's dollars."""
        wanted = ask(amount, minimum, **more)
        return (await self.say(asks=[wanted])).leases[0]

    async def told(self) -> pb.SyncLeasesResponse:
        """What it is told unasked."""
        if self.pushes:
            return self.pushes.pop(0)
        answer: pb.SyncLeasesResponse = await asyncio.wait_for(self._call.read(), 10)
        assert answer.status == pb.SYNC_STATUS_UNSPECIFIED
        return answer

    def close(self) -> None:
        self._call.cancel()


def ask(amount: int, minimum: int = 0, **more: Any) -> pb.LeaseAsk:
    fields = {"budget": "day", "unit": USD, "window": pb.WINDOW_DAY, **more}
    return pb.LeaseAsk(amount=amount, needed=minimum, minimum=minimum, **fields)
