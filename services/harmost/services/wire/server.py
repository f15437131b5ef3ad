"""The server: grpc.aio.Server's surface over connections, ports and one clock. Serves no bytes itself."""

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import grpc

from . import addresses, status
from .calls import Calls, StreamHandler
from .connection import Connection
from .detention import Detention
from .limits import Limits
from .tls import TlsContext, TlsFiles

__all__ = ["Server"]


class Server(grpc.aio.Server):
    """A gRPC server used as `grpc.aio.server()` is; generated code binds to it unchanged.

    `options` are gRPC channel options by name (see `Limits.with_options`), applied over `limits`.
    Raises ValueError for an interceptor that is none or an option that is not known.
    """

    def __init__(
        self,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        handlers: Sequence[grpc.GenericRpcHandler] | None = None,
        migration_thread_pool: Executor | None = None,
        limits: Limits | None = None,
    ) -> None:
        given: list[object] = list(interceptors or ())
        invalid = [i for i in given if not isinstance(i, grpc.aio.ServerInterceptor)]
        if invalid:
            raise ValueError(f"interceptors must be ServerInterceptors, not `{invalid}`")
        self.limits = (limits or Limits()).with_options(options or ())
        self.connections: set[Connection] = set()
        self._calls = Calls(
            interceptors=interceptors or (),
            calls_max=maximum_concurrent_rpcs,
            compression=compression,
            executor=migration_thread_pool,
        )
        self._calls.add_generic(handlers or ())
        # Connections hand calls over without a detour.
        self.begin = self._calls.begin
        self.cut = self._calls.cut
        self._reuse_port = dict(options or ()).get("grpc.so_reuseport", 1) != 0
        self._sockets: list[tuple[socket.socket, TlsContext | None]] = []
        self._listeners: list[asyncio.Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._certificates_due_s = 0.0
        self._detention: Detention | None = None
        self._stopping = False
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()  # a connection is gone

    # --- Registration ----------------------------------------------------------------------------

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Serve the methods that `generic_rpc_handlers` know."""
        self._calls.add_generic(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Serve `/service_name/method` by the handler of that name."""
        self._calls.add_registered(service_name, dict(method_handlers))

    def add_stream_handler(self, method: str, handler: StreamHandler) -> None:
        """Serve `method`, as `/package.Service/Method`, on the low-level face.

        `handler(stream, message)` gets the one request message and must not block; no interceptor,
        task or context comes between.
        """
        self._calls.add_stream(method, handler)

    def add_insecure_port(self, address: str) -> int:
        """Bind `address` in plaintext and return its port; RuntimeError when that fails."""
        return self._add_port(address, None)

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        """Bind `address` with TLS, given `TlsFiles`; RuntimeError when the address cannot be had.

        gRPC's own ServerCredentials are opaque and cannot be used: TypeError.
        """
        if not isinstance(server_credentials, TlsFiles):
            raise TypeError("the wire server takes `TlsFiles`, not gRPC's server credentials")
        return self._add_port(address, TlsContext(server_credentials))

    def _add_port(self, address: str, tls: TlsContext | None) -> int:
        if self._loop is not None:
            raise RuntimeError("ports are added before the server starts")
        bound = addresses.bind(address, reuse_port=self._reuse_port)
        self._sockets.append((bound, tls))
        return addresses.port_of(bound)

    # --- Life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Accept connections. Once; RuntimeError after that."""
        if self._loop is not None:
            raise RuntimeError("server was started already")
        self._loop = loop = asyncio.get_running_loop()
        self._detention = Detention(loop)
        for bound, tls in self._sockets:
            extra: dict[str, Any] = {}
            if tls is not None:
                extra = {"ssl": tls.entry, "ssl_handshake_timeout": self.limits.handshake_s}
            listener = await loop.create_server(
                lambda: Connection(self, loop), sock=bound, backlog=addresses.BACKLOG, **extra
            )
            self._listeners.append(listener)
        self._tick()

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, let running ones end for `grace` seconds, then end them.

        Returns when the last handler has returned. May be called again with a shorter grace.
        """
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.lifetime.drain(None)
        try:
            async with asyncio.timeout(grace or 0):
                await self._all_gone()
        except TimeoutError:
            await self._cut_off()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._detention is not None:
            self._detention.stop()
        for bound, _ in self._sockets:
            bound.close()
        self._stopped.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped; True when `timeout` seconds passed first."""
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            return True
        return False

    async def _all_gone(self) -> None:
        while self.connections or self._calls.running:
            self._changed.clear()
            if self.connections:
                await self._changed.wait()
            else:
                await asyncio.wait(self._calls.running)

    async def _cut_off(self) -> None:
        for connection in list(self.connections):
            connection.fail_calls(status.UNAVAILABLE, "server is stopping")
            connection.terminate(0)
        if self._calls.running:
            await asyncio.wait(self._calls.running)
        for connection in list(self.connections):
            connection.abort()

    def _tick(self) -> None:
        """Once a tick: every connection looks at the clock, and so do the certificates."""
        loop = self._loop
        if loop is None:
            return
        now_s = loop.time()
        for connection in list(self.connections):
            connection.lifetime.tick(now_s)
        if now_s >= self._certificates_due_s:
            self._certificates_due_s = now_s + self.limits.certificate_check_s
            self.reload_certificates()
        self._ticker = loop.call_later(self.limits.tick_s, self._tick)

    def reload_certificates(self) -> None:
        """Use changed certificate files from the next handshake on; done by the clock, too."""
        for _, tls in self._sockets:
            if tls is not None:
                tls.reload_if_changed()

    # --- For connections -------------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more connection."""
        if self._stopping or len(self.connections) >= self.limits.connections_max:
            return False
        self.connections.add(connection)
        return True

    def gone(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self._changed.set()

    def detain(self, connection: Connection) -> bool:
        """Have a connection that resets too much wait for its turns; False when too many do."""
        return self._detention is not None and self._detention.enter(connection)
