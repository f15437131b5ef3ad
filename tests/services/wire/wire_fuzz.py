"""Fuzzes the wire server with random and mutated frames; `python wire_fuzz.py SECONDS [SEED]`.

Three kinds of conversation, each on a connection of its own: bytes of no meaning, frames of random
type and content after a good preface, and good conversations with bytes changed, cut or repeated.
All the while a well-behaved caller makes calls on another connection, and every one must succeed.
Ends with status 1 when a call failed, when connections or tasks were left behind, or when memory
grew by more than GROWTH_BYTES_MAX after the first fifth.
"""

import asyncio
import logging
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import uvloop
from wire_harness import GRPC_HEADERS, Running, frame, pb, running

from harmost.services.wire import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
METHODS = ("EmptyCall", "UnaryCall", "StreamingInputCall", "FullDuplexCall", "Sleep", "Pour")
GROWTH_BYTES_MAX = 24 << 20
# Short limits, so that connections which a mutation left hanging end while we look.
LIMITS = Limits(handshake_s=1, keepalive_s=1, keepalive_timeout_s=1, idle_s=1)


@dataclass
class Report:
    """What a run found."""

    conversations: int = 0
    calls: int = 0
    failures: int = 0
    growth_bytes: int = 0
    left_connections: int = 0
    left_tasks: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        wrong = self.failures + self.left_connections + self.left_tasks
        return wrong == 0 and self.growth_bytes < GROWTH_BYTES_MAX


def http2_frame(kind: int, flags: int, stream_id: int, content: bytes) -> bytes:
    """One frame; RFC 9113, section 4.1."""
    head = len(content).to_bytes(3, "big") + bytes((kind & 255, flags & 255))
    return head + (stream_id & 0x7FFFFFFF).to_bytes(4, "big") + content


def request(rng: random.Random, stream_id: int) -> bytes:
    """A good call in two frames, HPACK without table."""
    method = rng.choice(METHODS)
    path = (b":path", f"/grpc.testing.TestService/{method}".encode())
    extra = [(b"grpc-timeout", b"100m"), (b"grpc-encoding", rng.choice((b"gzip", b"identity")))]
    block = b"".join(
        b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
        for name, value in (path, *GRPC_HEADERS, *rng.sample(extra, rng.randint(0, 2)))
    )
    message = pb.SimpleRequest(response_size=rng.choice((0, 10, 5000))).SerializeToString()
    data = frame(message) * rng.randint(0, 3)
    return http2_frame(1, 4, stream_id, block) + http2_frame(0, rng.randint(0, 1), stream_id, data)


def random_frame(rng: random.Random) -> bytes:
    """A frame of likely type and unlikely content."""
    content = rng.randbytes(rng.choice((0, 1, 4, 5, 6, 8, 30, 500)))
    kind = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, rng.randint(0, 255)))
    return http2_frame(kind, rng.getrandbits(8), rng.choice((0, 1, 2, 3, 5, 2**31 - 1)), content)


def mutated(rng: random.Random, good: bytes) -> bytes:
    """`good` with bytes changed, cut out, doubled or swapped."""
    bad = bytearray(good)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(bad)) if bad else 0
        match rng.randrange(5):
            case 0:
                bad[at : at + 1] = rng.randbytes(1)
            case 1:
                del bad[at : at + rng.randint(1, 20)]
            case 2:
                bad[at:at] = bad[at : at + rng.randint(1, 40)]
            case 3:
                bad[at:at] = rng.randbytes(rng.randint(1, 9))
            case _:
                bad[at:at] = random_frame(rng)
    return bytes(bad)


def conversation(rng: random.Random) -> bytes:
    """Everything that one connection says."""
    match rng.randrange(10):
        case 0:
            return rng.randbytes(rng.randint(1, 3000))
        case 1 | 2 | 3:
            frames = b"".join(random_frame(rng) for _ in range(rng.randint(1, 20)))
            return PREFACE + SETTINGS + frames
        case _:
            calls = [request(rng, 2 * i + 1) for i in range(rng.randint(1, 10))]
            resets = [http2_frame(3, 0, 2 * i + 1, b"\0\0\0\x08") for i in range(rng.randint(0, 5))]
            pieces = calls + resets
            good = SETTINGS + b"".join(pieces)
            return PREFACE + (mutated(rng, good) if rng.random() < 0.9 else good)


async def talk(rng: random.Random, port: int) -> None:
    """Say one conversation in pieces, listen a moment, then leave in one of two ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = conversation(rng)
    try:
        while said:
            cut = rng.randint(1, len(said)) if rng.random() < 0.5 else len(said)
            writer.write(said[:cut])
            said = said[cut:]
            await asyncio.sleep(0)
        async with asyncio.timeout(rng.choice((0.0, 0.001, 0.02))):
            while await reader.read(65536):
                pass
    except (ConnectionError, TimeoutError, RuntimeError):  # RuntimeError: uvloop, once closed
        pass
    if rng.random() < 0.5:
        writer.transport.abort()
    writer.close()


async def behave(server: Running, report: Report, end_s: float) -> None:
    """Call while others misbehave."""
    async with server.stub() as stub:
        while time.monotonic() < end_s:
            try:
                answer = await stub.UnaryCall(pb.SimpleRequest(response_size=100), timeout=5)
                report.failures += len(answer.payload.body) != 100
            except Exception as error:  # noqa: BLE001 - any failure is the finding
                print("a good call failed:", error, file=sys.stderr)
                report.failures += 1
            report.calls += 1
            await asyncio.sleep(0.005)


def memory_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def fuzz(seconds: float, seed: int) -> Report:
    """Run for `seconds`."""
    rng, report = random.Random(seed), Report()
    logging.getLogger("harmost").setLevel(logging.CRITICAL)
    tasks_before = len(asyncio.all_tasks())
    async with running("wire", limits=LIMITS) as server:
        begun_s = time.monotonic()
        end_s = begun_s + seconds
        good = asyncio.ensure_future(behave(server, report, end_s))
        level_bytes = 0
        while time.monotonic() < end_s:
            if not level_bytes and time.monotonic() > begun_s + seconds / 5:
                level_bytes = memory_bytes()
            await asyncio.gather(*[talk(rng, server.port) for _ in range(8)])
            report.conversations += 8
        await good
        report.growth_bytes = memory_bytes() - level_bytes
        for _ in range(500):
            if not server.server.connections:
                break
            await asyncio.sleep(0.01)
        report.left_connections = len(server.server.connections)
    await asyncio.sleep(0.1)
    report.left_tasks = max(0, len(asyncio.all_tasks()) - tasks_before)
    return report


def main() -> int:
    """Fuzz for the time given; 30 s without."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    print("seed", seed, flush=True)
    report = uvloop.run(fuzz(seconds, seed))
    print(report)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
