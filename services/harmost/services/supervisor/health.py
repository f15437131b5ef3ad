"""Whether a service answers yet: grpc.health.v1 on gRPC ports, GET /healthz on the sandbox's."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harmost.core.errors import ServiceUnavailable
from harmost.services.addresses import split_address
from harmost.services.supervisor.child import Child
from harmost.services.transport import channel

__all__ = ["wait_until_healthy"]

POLL_S = 0.05
PROBE_S = 1.0
DEATHS_MAX = 2


async def wait_until_healthy(
    child: Child, address: str, *, http: bool, tls_ca: Path | None, timeout_s: float
) -> None:
    """Return when the service serves; `ServiceUnavailable` when it keeps dying or time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if child.deaths > DEATHS_MAX:
            raise ServiceUnavailable(
                f"{child.name} does not start: {child.last_line or 'it said nothing'}"
            )
        if await (_http_serves(address) if http else _grpc_serves(address, tls_ca)):
            return
        await asyncio.sleep(POLL_S)
    said = f"; its last words: {child.last_line}" if child.last_line else ""
    raise ServiceUnavailable(
        f"{child.name} at `{address}` did not serve within {timeout_s:.0f} s{said}"
    )


async def _grpc_serves(address: str, tls_ca: Path | None) -> bool:
    async with channel(address, ca=tls_ca) as probed:
        stub: Any = health_pb2_grpc.HealthStub(probed)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _http_serves(address: str) -> bool:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
