"""Soaks the wire server in mixed load: `python wire_soak.py SECONDS`, 600 without.

Unary calls, streams read to the end, streams cancelled half-way, uploads, ping-pong, connections
that come and go, deadlines that pass. Memory must be flat after the first tenth, every call must
end as it should, and no task, stream or connection may be left behind. Ends with status 1 otherwise.
"""

import asyncio
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import grpc
import uvloop
from wire_harness import RawClient, Running, payload, pb, running

GROWTH_BYTES_MAX = 16 << 20
WORKERS = 6


@dataclass
class Report:
    """What a run found."""

    calls: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    growth_bytes: int = 0
    left_tasks: int = 0
    left_streams: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        left = self.left_tasks + self.left_streams + self.wrong.total()
        return left == 0 and self.growth_bytes < GROWTH_BYTES_MAX


async def unary(stub: Any, rng: random.Random) -> bool:
    """One question, one answer."""
    size = rng.choice((0, 100, 70_000))
    answer = await stub.UnaryCall(pb.SimpleRequest(response_size=size, payload=payload(size)))
    return len(answer.payload.body) == size


async def read_all(stub: Any, rng: random.Random) -> bool:
    """A stream to its end."""
    count = rng.randint(1, 50)
    asked = [pb.ResponseParameters(size=rng.choice((10, 3000)))] * count
    call = stub.StreamingOutputCall(pb.StreamingOutputCallRequest(response_parameters=asked))
    return sum([1 async for _ in call]) == count


async def cancel(stub: Any, rng: random.Random) -> bool:
    """A stream without end, left."""
    call = stub.Pour(pb.SimpleRequest(response_size=rng.choice((10, 5000))))
    for _ in range(rng.randint(1, 20)):
        await call.read()
    return bool(call.cancel())


async def upload(stub: Any, rng: random.Random) -> bool:
    """Many requests, one answer."""
    sizes = [rng.choice((1, 1000, 90_000)) for _ in range(rng.randint(0, 10))]
    sent = [pb.StreamingInputCallRequest(payload=payload(size)) for size in sizes]
    return bool((await stub.StreamingInputCall(iter(sent))).aggregated_payload_size == sum(sizes))


async def late(stub: Any, rng: random.Random) -> bool:
    """A deadline that passes."""
    try:
        await stub.Sleep(pb.Empty(), timeout=rng.uniform(0.001, 0.05))
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    return False


KINDS: tuple[Callable[[Any, random.Random], Awaitable[bool]], ...] = (
    unary,
    read_all,
    cancel,
    upload,
    late,
)


async def work(server: Running, report: Report, end_s: float, seed: int) -> None:
    """Calls of all kinds, over connections that are given up now and then."""
    rng = random.Random(seed)
    while time.monotonic() < end_s:
        async with server.stub() as stub:
            for _ in range(200):
                if time.monotonic() >= end_s:
                    break
                kind = rng.choice(KINDS)
                ok = await kind(stub, rng)
                report.calls[kind.__name__] += 1
                report.wrong[kind.__name__] += not ok


async def leave(server: Running, end_s: float) -> None:
    """Connections that break with calls on them."""
    while time.monotonic() < end_s:
        client = await RawClient.connect(server.port)
        for method in ("Sleep", "Pour", "UnaryCall"):
            client.call(method, body=pb.SimpleRequest(response_size=9).SerializeToString())
        await asyncio.sleep(0.02)
        client.close()
        await asyncio.sleep(0.05)


def memory_bytes() -> int:
    """Resident memory of this process, after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def soak(seconds: float) -> Report:
    """Run for `seconds`."""
    report = Report()
    before = len(asyncio.all_tasks())
    async with running("wire") as server:
        end_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for seed in range(WORKERS):
                tasks.create_task(work(server, report, end_s, seed))
            tasks.create_task(leave(server, end_s))
            await asyncio.sleep(max(seconds / 10, 1))
            level_bytes = memory_bytes()
        await asyncio.sleep(0.3)
        report.growth_bytes = memory_bytes() - level_bytes
        report.left_streams = sum(len(c.streams) for c in server.server.connections)
    await asyncio.sleep(0.1)
    report.left_tasks = max(0, len(asyncio.all_tasks()) - before)
    return report


def main() -> int:
    """Soak for the time given."""
    report = uvloop.run(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0))
    print(report)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
