"""The server under measurement: `wire_server.py wire|grpc.aio`. Prints its port, runs until killed.

Same generated servicer on both transports; the low-level methods exist on `wire` only.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from harmost.services import wire

sys.path.insert(0, sys.argv[2])  # the stubs that bench_wire.py generated
import wire_bench_pb2 as pb
import wire_bench_pb2_grpc as stubs

TEXT = "a token or two of text, fifty bytes in all, more"


class Bench(stubs.BenchServicer):
    """Answers with messages of about 50 bytes."""

    async def Echo(self, request: Any, context: Any) -> Any:
        """One answer."""
        return pb.Delta(text=TEXT, index=1)

    async def Stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """`count` answers, `pace_us` apart; without a pace, as fast as they are read."""
        pace_s = request.pace_us / 1e6
        for index in range(request.count):
            yield pb.Delta(text=TEXT, index=index)
            if pace_s:
                await asyncio.sleep(pace_s)
            elif index % 64 == 63:
                await asyncio.sleep(0)

    async def Idle(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """One answer, then nothing for as long as the caller stays."""
        yield pb.Delta(text=TEXT, index=0)
        await asyncio.Event().wait()


class Wheel:
    """Paces low-level streams as a relay's upstream would: callbacks, no task, 1 ms slots."""

    SLOTS = 50  # 50 ms between messages, 20 messages a second

    def __init__(self) -> None:
        self.slots: list[set[wire.Stream]] = [set() for _ in range(self.SLOTS)]
        self.left: dict[wire.Stream, int] = {}
        self.at = 0
        self.begun = 0
        self.frame = pb.Delta(text=TEXT, index=1).SerializeToString()

    def start(self, stream: wire.Stream, message: bytes) -> None:
        """Serve one stream."""
        if not self.left:
            asyncio.get_running_loop().create_task(self.turn())
        self.begun += 1
        slot = self.slots[self.begun % self.SLOTS]
        slot.add(stream)
        self.left[stream] = pb.StreamRequest.FromString(message).count
        stream.on_cancel = lambda: (slot.discard(stream), self.left.pop(stream, None))

    async def turn(self) -> None:
        """Send to one slot a millisecond while there are streams; nothing is measured but those."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while self.left:
            due_s += 0.001
            await asyncio.sleep(due_s - loop.time())
            self.at = (self.at + 1) % self.SLOTS
            for stream in list(self.slots[self.at]):
                self.send(stream)

    def send(self, stream: wire.Stream) -> None:
        """One message, and the end after the last."""
        stream.send(self.frame)
        left = self.left[stream] - 1
        self.left[stream] = left
        if left <= 0:
            self.slots[self.at].discard(stream)
            del self.left[stream]
            stream.finish()


async def main() -> None:
    """Serve until the process is ended."""
    directory = Path(sys.argv[2])
    wheel = Wheel()
    server: Any
    if sys.argv[1] == "grpc.aio":
        # Its default cancels most of a burst of 3,000 streams.
        server = grpc.aio.server(options=(("grpc.server.max_pending_requests", 100_000),))
    else:
        server = wire.Server(limits=wire.Limits(streams_max=6_000))
        server.add_stream_handler("/wirebench.Bench/LowLevel", wheel.start)
    stubs.add_BenchServicer_to_server(Bench(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    secure = 0
    if sys.argv[1] != "grpc.aio":
        files = wire.TlsFiles(certificate=directory / "cert.pem", key=directory / "key.pem")
        secure = server.add_secure_port("127.0.0.1:0", files)
    else:
        pair = ((directory / "key.pem").read_bytes(), (directory / "cert.pem").read_bytes())
        secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)  # as the services' main does
    print(port, secure, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
