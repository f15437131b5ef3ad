"""Clients that mean no good, beside well-behaved ones: whose p99 is compared before and during.

deaf      ask for long answers at full speed and read nothing
vanish    two thousand calls, cut with their connections every second, and again
garbage   bytes that are no HTTP/2, no HPACK, no protobuf; half a preface and then silence
"""

import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from documents import ATTACKER
from rig import Rig, Window

__all__ = ["under_attack"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA, RST_STREAM = 4, 1, 0, 3
END_HEADERS = 4
GARBAGE_PER_S = 100
LONG = 50_000  # tokens of a stream that outlasts the run
# One after the other, then at once.
ATTACKS = ("deaf", "garbage", "vanish", "deaf garbage vanish")
HELD_MAX = 64  # connections of garbage that stay open and silent


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """One frame of HTTP/2. Source: RFC 9113, section 4.1."""
    return (
        struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream_id) + payload
    )


def plain(name: bytes, value: bytes) -> bytes:
    """A header without compression, up to 126 bytes. Source: RFC 7541, section 6.2.2."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def pieces() -> list[bytes]:
    """What is sent as garbage, in turn."""
    opened = PREFACE + frame(SETTINGS, 0, 0, b"")
    call = b"".join(
        plain(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/harmost.router.v1.RouterService/StreamChat"),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    begun = opened + frame(HEADERS, END_HEADERS, 1, call)
    return [
        bytes(range(256)) * 64,
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        PREFACE[:11],
        PREFACE + b"\xff" * 4096,
        opened + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\x7f" * 40),
        opened + frame(HEADERS, END_HEADERS, 1, plain(b"x", b"y" * 120) * 2_000)[: 2**14 + 9],
        begun + frame(DATA, 1, 1, b"\x00\x00\x00\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff"),
        begun + frame(DATA, 1, 1, b"\x01\xff\xff\xff\xff" + b"z" * 100),
        opened
        + b"".join(
            frame(HEADERS, END_HEADERS, i, call) + frame(RST_STREAM, 0, i, b"\0\0\0\x08")
            for i in range(1, 401, 2)
        ),
    ]


def send_garbage(address: str, stop: threading.Event) -> None:
    """Open GARBAGE_PER_S connections a second, each with one piece, until `stop`."""
    host, _, port = address.rpartition(":")
    held: list[socket.socket] = []
    kinds = pieces()
    number = 0
    while not stop.wait(1 / GARBAGE_PER_S):
        try:
            connection = socket.create_connection((host, int(port)), timeout=1)
            held.append(connection)
            connection.sendall(kinds[number % len(kinds)])
        except OSError:
            pass  # thrown out: as it should be
        number += 1
        while len(held) > HELD_MAX:
            held.pop(0).close()
    for connection in held:
        connection.close()


@contextmanager
def attacking(rig: Rig, profile: str, kinds: str, *, calls: int) -> Iterator[None]:
    """Attack until the block ends; `rig` has a key of the attacker's own tenant."""
    forever = {"count_s": 3600, "warm_s": 0, "settle_s": 0}
    bad: list[subprocess.Popen[str]] = []
    if "deaf" in kinds:
        deaf = {"mode": "deaf", "streams": 64, "connections": 8, "tokens": 90_000, "pace_us": 0}
        bad.append(rig.start(profile, **deaf, **forever))
    if "vanish" in kinds:
        vanish = {"mode": "vanish", "streams": calls, "connections": 20, "tokens": 500}
        bad.append(rig.start(profile, **vanish, **forever))
    stop = threading.Event()
    garbage = threading.Thread(
        target=send_garbage, args=(rig.mesh.endpoints["router"], stop), daemon=True
    )
    if "garbage" in kinds:
        garbage.start()
    try:
        yield
    finally:
        stop.set()
        for process in bad:
            process.kill()
            process.communicate()
        if "garbage" in kinds:
            garbage.join()


def under_attack(
    rig: Rig, profile: str, *, streams: int, calls: int, count_s: float
) -> dict[str, Window]:
    """The same well-behaved streams before and during each attack, and during all at once.

    Raises if a Router worker died of it.
    """
    workers = {pid for pid, name in rig.pids().items() if name == "router"}
    attacker = replace(rig, key=rig.mesh.key(ATTACKER, "attacker", "caller"))
    windows = 1 + 2 * len(ATTACKS)
    good = rig.start(
        profile, streams=streams, tokens=LONG, windows=windows, count_s=count_s, warm_s=1
    )
    found: dict[str, Window] = {}
    try:
        found["before"] = rig.window(good.stdout.readline())
        for kinds in ATTACKS:
            with attacking(attacker, profile, kinds, calls=calls):
                good.stdout.readline()  # the attack begins, and what came before it ends
                found[kinds] = rig.window(good.stdout.readline())
    finally:
        good.kill()
        good.communicate()
    if {pid for pid, name in rig.pids().items() if name == "router"} != workers:
        raise RuntimeError("a Router worker died under attack: see its log")
    return found
