"""A Router of a running mesh inside this process, where a test can count what it keeps.

On a loop and thread of its own, as it has them in production.
"""

import asyncio
import gc
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import uvloop
from mesh import Mesh

from harmost.router.v1 import router_pb2
from harmost.services.main import SERVICES
from harmost.services.operate.policy_keys import VERIFY_KEYS
from harmost.services.router.service import RouterServicer
from harmost.services.settings import Settings
from harmost.services.supervisor.premises import SERVICE_KEY

__all__ = ["RouterInside", "router_inside"]

WAIT_S = 20.0
T = TypeVar("T")


class RouterInside:
    """Serves at `address`; `servicer` is its own. Its coroutines run by `run`."""

    def __init__(self, address: str, loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self._loop = loop
        (self.servicer,) = (each for each in gc.get_objects() if isinstance(each, RouterServicer))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work` on the Router's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(4 * WAIT_S)

    async def stats(self) -> router_pb2.GetStatsResponse:
        return await self.servicer.GetStats(router_pb2.GetStatsRequest(), cast(Any, None))

    async def until(self, **wanted: int) -> None:
        """Return once each of `wanted` is reached; a zero is waited for exactly."""
        async with asyncio.timeout(WAIT_S):
            while not _reached(await self.stats(), wanted):
                await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Return once nothing runs, is held or is owed, and what was to be told has been."""
        await self.until(calls_live=0, attempts_held=0)
        budget = self.servicer._tools.attempt.budget  # its next message may be a second away
        budget._sync.book._waits = True
        budget._sync.hasten()
        await self.until(settlements_owed=0)
        await asyncio.sleep(0.1)  # records are shipped, timers' ticks go by


def _reached(stats: router_pb2.GetStatsResponse, wanted: dict[str, int]) -> bool:
    have = {name: getattr(stats, name) for name in wanted}
    return all(have[name] >= least if least else not have[name] for name, least in wanted.items())


@contextmanager
def router_inside(mesh: Mesh, data: Path) -> Iterator[RouterInside]:
    """Start it beside the mesh's own, with files of its own in `data`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = Settings(
        listen=address,
        data_dir=data,
        service_key_file=mesh.data / SERVICE_KEY,
        admin_key_file=mesh.data / "admin.key",
        policy_verify_keys=(mesh.data / VERIFY_KEYS,),
        policy_address=mesh.endpoints["policy"],
        budget_address=mesh.endpoints["budget"],
        telemetry_address=mesh.endpoints["telemetry"],
        router_name="inside",
        grace_s=1.0,
    )
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        try:
            async with SERVICES["router"](settings):
                stop = asyncio.Event()
                running.append((asyncio.get_running_loop(), stop))
                started.set()
                await stop.wait()
        finally:
            started.set()

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="router.inside")
    thread.start()
    assert started.wait(WAIT_S)
    assert running, "the Router did not start"
    loop, stop = running[0]
    try:
        yield RouterInside(address, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
