"""What does one event of a provider cost the upstream client?

On the back of an envelope: over HTTP/1.1 each event of 20 a second and stream is one `read` of its
own, 4 us of kernel, and one callback, 3 us. Over HTTP/2 events of many streams share a read, so the
kernel's part shrinks and the frame's own, 3 us, is left. aiohttp adds a future, a wake-up and a
task switch to each event: 25 to 50 us.

All three read the same mock provider and throw the bytes away. CPU is this process' own, user and
kernel; the mock has a process of its own.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import uvloop
from _result import emit

from harmost.core.chat import Message
from harmost.core.providers.codec import HttpRequest, ProviderError, UpstreamRequest
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint
from harmost.services.upstream.client import upstream_client

HERE = Path(__file__).parent
STREAMS = 500
PACE_US = 50_000  # 20 events a second and stream
WARM_S, COUNTED_S = 2.0, 4.0
RUNS = 3


@contextmanager
def provider() -> Iterator[int]:
    """The load suite's mock in a process of its own; gives its port."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "provider"
        source = HERE / "load/provider.c"
        command = ["gcc", "-O2", "-o", str(path), str(source), "-lnghttp2"]
        if subprocess.run(command, check=False).returncode:
            sys.exit("needs gcc and nghttp2: apt-get install gcc libnghttp2-dev")
        process = subprocess.Popen([path, "0"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().split()[-1])
        finally:
            process.terminate()
            process.wait()


def endpoint(port: int, *, http2: bool) -> Endpoint:
    """The mock as a provider."""
    spec = ProviderSpec(
        codec="openai",
        base_url=f"http://127.0.0.1:{port}/v1",
        http2=http2,
        connections_max=4 if http2 else STREAMS,
    )
    return Endpoint.of("mock", spec)


def request(called: Endpoint) -> HttpRequest:
    """A call whose answer outlasts the run."""
    return called.codec.request(
        UpstreamRequest(
            vendor_model_id="mock",
            messages=(Message.of("user", f"#n=009000;p={PACE_US:06d};f=none#"),),
            output_tokens_max=9_000,
        )
    )


class Counter:
    """A sink that counts events: `data:` begins one."""

    events = 0

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Nothing to count."""

    def on_data(self, data: bytes) -> None:
        """Count."""
        Counter.events += data.count(b"data:")

    def on_end(self) -> None:
        """The run was too long, or the mock is broken."""
        raise AssertionError("an answer ended")

    def on_error(self, error: ProviderError) -> None:
        """The run is broken."""
        raise AssertionError(error)


async def counted() -> tuple[float, int]:
    """CPU microseconds for an event over the window, and how many events there were."""
    await asyncio.sleep(WARM_S)
    Counter.events, begin = 0, time.process_time()
    await asyncio.sleep(COUNTED_S)
    took = time.process_time() - begin
    return took * 1e6 / Counter.events, Counter.events


async def ours(port: int, *, http2: bool) -> tuple[float, int]:
    """This project's client."""
    called = endpoint(port, http2=http2)
    async with upstream_client() as upstream:
        calls = [
            upstream.open(called, request(called), attempt_id=f"a{n}", sink=Counter())
            for n in range(STREAMS)
        ]
        found = await counted()
        for call in calls:
            call.cancel()
        return found


async def aiohttps(port: int) -> tuple[float, int]:
    """aiohttp's client, read as it reads best."""
    called = endpoint(port, http2=False)
    asked = request(called)

    async def read(session: aiohttp.ClientSession) -> None:
        sink = Counter()
        url = called.spec.base_url + asked.path
        async with session.post(url, data=asked.body, headers=asked.headers) as response:
            async for data in response.content.iter_any():
                sink.on_data(data)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [asyncio.create_task(read(session)) for _ in range(STREAMS)]
        found = await counted()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found


async def median(run: Callable[[], Awaitable[tuple[float, int]]]) -> tuple[float, int]:
    """The median of RUNS runs, and all their events."""
    found = [await run() for _ in range(RUNS)]
    return statistics.median(us for us, _ in found), sum(n for _, n in found)


async def main(port: int) -> None:
    """Measure, print."""
    theirs, _ = await median(lambda: aiohttps(port))
    over_h1, n_h1 = await median(lambda: ours(port, http2=False))
    over_h2, n_h2 = await median(lambda: ours(port, http2=True))
    emit("upstream.h1.cpu_us_per_event", over_h1, "us", n_h1)
    emit("upstream.h2.cpu_us_per_event", over_h2, "us", n_h2)
    emit("upstream.ratio_vs_aiohttp", theirs / over_h1, "ratio", n_h1)


if __name__ == "__main__":
    with provider() as its_port:
        uvloop.run(main(its_port))
