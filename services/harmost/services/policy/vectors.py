"""Reads fact vectors from the Telemetry service, for replay.py."""

from collections.abc import AsyncGenerator

import grpc

from harmost.services.interceptors.errors import error_of
from harmost.services.policy.replay import ReadVectors
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

__all__ = ["vectors_of"]


def vectors_of(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> ReadVectors:
    """What asks at the other end of `channel`; raises errors of the tree. Left early, it cancels."""
    stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)

    async def read(
        request: telemetry_pb2.ReadFactVectorsRequest,
    ) -> AsyncGenerator[telemetry_pb2.ReadFactVectorsResponse]:
        call = stub.ReadFactVectors(request, metadata=metadata)
        try:
            async for page in call:
                yield page
        except grpc.aio.AioRpcError as error:
            raise error_of(error, service="telemetry") from None
        finally:
            call.cancel()

    return read
