"""What does a relayed token, and a whole call, cost the Router's process in CPU?

A whole mesh runs (`harmost up`, governance of the examples on); 200 streams of 20 tokens a second
read for five seconds, then 32 callers make calls of one token as fast as they come. CPU is the Router's
alone, user and system, from /proc over the window. Back of the envelope: two network reads, one
JSON parse and one protobuf a token: below 100 us in Python, below 20 us in C.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import grpc
import psutil

from harmost.router.v1 import router_pb2, router_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from _result import emit
from mesh import Mesh, running_mesh

TOKEN_MS = 50
CHANNELS = 4


def request(text: str) -> router_pb2.StreamChatRequest:
    return router_pb2.StreamChatRequest(
        profile="hello",
        messages=[
            router_pb2.Message(
                role=router_pb2.MESSAGE_ROLE_USER, parts=[router_pb2.Part(text=text)]
            )
        ],
    )


def cpu_s(pids: Iterable[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


class Load:
    """Callers over a few channels; counts what comes back."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.deltas = 0
        self.calls = 0
        self.failed = 0
        self.stopped = False

    async def stream(self, stub: "router_pb2_grpc.RouterServiceAsyncStub", text: str) -> None:
        while not self.stopped:
            try:
                async for event in stub.StreamChat(request(text), metadata=self.mesh.metadata):
                    self.deltas += event.HasField("delta")
                self.calls += 1
            except grpc.aio.AioRpcError:
                self.failed += 1
                await asyncio.sleep(0.1)

    async def window(
        self, text: str, callers: int, warm_s: float, window_s: float
    ) -> dict[str, float]:
        """CPU and counts of `window_s` seconds, after `warm_s`."""
        channels = [
            grpc.aio.insecure_channel(
                self.mesh.endpoints["router"], options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(CHANNELS)
        ]
        stubs = [router_pb2_grpc.RouterServiceStub(channel) for channel in channels]
        tasks = [
            asyncio.create_task(self.stream(stubs[n % CHANNELS], text)) for n in range(callers)
        ]
        await asyncio.sleep(warm_s)
        pids = [self.mesh.pid("router")]
        before, deltas, calls, began = cpu_s(pids), self.deltas, self.calls, time.monotonic()
        await asyncio.sleep(window_s)
        took = time.monotonic() - began
        found = {
            "cpu_s": cpu_s(pids) - before,
            "deltas": self.deltas - deltas,
            "calls": self.calls - calls,
            "took_s": took,
        }
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()
        return found


async def measure(mesh: Mesh, streams: int, transport: str) -> None:
    load = Load(mesh)
    text = f"[[sandbox token_ms={TOKEN_MS} latency_sigma=0 output_tokens=2000]]"
    found = await load.window(text, streams, 4.0, 5.0)
    emit(
        f"router.{transport}.cpu_us_per_token.{streams}",
        found["cpu_s"] / found["deltas"] * 1e6,
        "us",
        int(found["deltas"]),
    )
    await asyncio.sleep(2)
    load = Load(mesh)
    found = await load.window("[[sandbox ttft_ms=0 output_tokens=1]]", 32, 2.0, 5.0)
    if load.failed:
        raise RuntimeError(f"{load.failed} calls failed")
    emit(
        f"router.{transport}.cpu_us_per_call",
        found["cpu_s"] / found["calls"] * 1e6,
        "us",
        int(found["calls"]),
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--streams", type=int, default=200)
    arguments.add_argument("--transport", default="wire")
    given = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_mesh(Path(folder) / "data", "--transport", given.transport) as mesh,
    ):
        asyncio.run(measure(mesh, given.streams, given.transport))


if __name__ == "__main__":
    main()
