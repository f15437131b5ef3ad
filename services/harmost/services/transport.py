"""The one seam between the services and what carries their RPCs: a gRPC server and client channels.

`wire` is our server on HTTP/2, `grpcio` is grpc.aio's: the same registration surface, so a service
cannot tell them apart. Channels are always grpcio's.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from harmost.core.errors import InvalidInput
from harmost.core.limits import GRPC_MESSAGE_BYTES_MAX
from harmost.services import wire
from harmost.services.wire.tls import TlsFiles

__all__ = ["TRANSPORTS", "GrpcServer", "Transport", "bearer", "channel"]

Transport = Literal["wire", "grpcio"]
TRANSPORTS: tuple[Transport, ...] = ("wire", "grpcio")

# The package has no types, and pyright does not see that `aio` is there on Python >= 3.6.
_HealthServicer: Any = vars(health)["aio"].HealthServicer

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES_MAX),
)
_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *_OPTIONS,
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A service that was killed comes back within a second: find it at once.
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class GrpcServer:
    """One service on one port, with health and reflection. Health says SERVING once told so."""

    def __init__(
        self,
        transport: Transport,
        *,
        interceptor: grpc.aio.ServerInterceptor,
        register: Callable[[grpc.aio.Server], str],
        listen: str,
        tls: TlsFiles | None,
        shared_port: bool = False,
        own_listen: str = "",
    ) -> None:
        """Bind `listen` ("host:port", port 0: any). `register` adds a servicer, returns its name.

        `shared_port` lets other workers listen there too: the kernel deals connections out among
        them. `own_listen` is where this one alone is reached, "" for nowhere.
        Raises `InvalidInput` naming the address when one cannot be had.
        """
        self._server = _new(transport, interceptor, shared_port=shared_port)
        self._health: Any = _HealthServicer()
        self._name = register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(  # pyright: ignore[reportUnknownMemberType]
            self._health, self._server
        )
        names = (self._name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = _bind(self._server, transport, listen, tls)
        if own_listen:
            # Ours to reach: no certificate of a caller is asked for.
            own_tls = tls and replace(tls, client_ca=None)
            _bind(self._server, transport, own_listen, own_tls)

    async def start(self) -> None:
        """Accept connections; health says NOT_SERVING."""
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What health answers, for the service and for the whole server."""
        status = health_pb2.HealthCheckResponse.NOT_SERVING
        if serving:
            status = health_pb2.HealthCheckResponse.SERVING
        await self._health.set(self._name, status)
        await self._health.set("", status)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let running ones end for `grace_s`, then end them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def channel(
    address: str, *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> grpc.aio.Channel:
    """A channel to a service of the mesh; TLS when `ca` is given, mutual with `cert` and `key`."""
    if ca is None:
        return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=key.read_bytes() if key else None,
        certificate_chain=cert.read_bytes() if cert else None,
    )
    return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Call metadata that carries `key`."""
    return (("authorization", f"Bearer {key}"),)


def _new(
    transport: Transport, interceptor: grpc.aio.ServerInterceptor, *, shared_port: bool
) -> grpc.aio.Server:
    # Unless it is to be shared, a port that is taken is an error, not a second listener.
    options = (*_OPTIONS, ("grpc.so_reuseport", int(shared_port)))
    if transport == "wire":
        return wire.Server(interceptors=[interceptor], options=options)
    return grpc.aio.server(interceptors=[interceptor], options=options)


def _bind(server: grpc.aio.Server, transport: Transport, listen: str, tls: TlsFiles | None) -> int:
    try:
        if tls is None:
            port = server.add_insecure_port(listen)
        elif transport == "wire":
            port = server.add_secure_port(listen, tls)  # type: ignore[arg-type]
        else:
            port = server.add_secure_port(listen, _grpcio_credentials(tls))
    except (RuntimeError, OSError) as error:
        raise InvalidInput(
            f"cannot listen on `{listen}`: {error}: stop what listens there or choose another port"
        ) from error
    return port


def _grpcio_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.client_ca.read_bytes() if tls.client_ca else None,
        require_client_auth=tls.client_ca is not None and not tls.client_certificate_optional,
    )
