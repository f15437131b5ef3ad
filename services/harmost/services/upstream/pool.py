"""The connections to one address of a provider: bounded, shared where HTTP/2 allows it, kept where HTTP/1.1 does.

Calls wait here for a connection, oldest first, as long as their own connect timeout lets them.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, cast

from harmost.core.providers.failures import failure
from harmost.core.resources.kinds import ProviderSpec

from .call import Call
from .h1 import Http1Connection
from .h2 import Http2Connection
from .limits import STREAMS_MAX, WAITING_MAX
from .request import Target
from .tls import TlsContexts
from .wheel import Wheel

__all__ = ["Host", "Pool"]

_Connection: TypeAlias = Http1Connection | Http2Connection


class Host(Protocol):
    """What a pool needs of its client."""

    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    tls: TlsContexts

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which never raises, until the client stops."""
        ...

    def empty(self, pool: "Pool") -> None:
        """`pool` holds nothing any more."""
        ...


class Pool:
    """At most `connections_max` connections that take calls, and as many that end."""

    def __init__(
        self, host: Host, name: str, spec: ProviderSpec, target: Target, *, connections_max: int
    ) -> None:
        self.target = target
        self.wheel = host.wheel
        self._host = host
        self._name = name  # as people are told it
        self.adopt(spec)
        self._connections_max = connections_max
        self._is_http1 = False  # as far as is known
        self._http2_streams = 100 if spec.http2 is True else 0  # a connection carries; 0: unknown
        self._waiting: dict[Call, None] = {}
        self._idle: list[Http1Connection] = []
        self._shared: list[Http2Connection] = []
        self._taking: set[_Connection] = set()  # count against `connections_max`
        self._ending: set[_Connection] = set()
        self._connecting = 0
        self._opening: dict[Http2Connection, asyncio.Future[None]] = {}

    def adopt(self, spec: ProviderSpec) -> None:
        """Go by the newest document: what differs beyond times makes another pool."""
        self._spec = spec
        self.connect_timeout_s = spec.connect_timeout_ms / 1000
        self.ping_after_s = spec.ping_after_ms / 1000
        self.ping_timeout_s = spec.ping_timeout_ms / 1000

    def __len__(self) -> int:
        """Connections, in whatever state."""
        return len(self._taking) + len(self._ending)

    # --- For calls -------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Put `call` on a connection, or at the end of the queue."""
        if not self._waiting and self._place(call):
            return
        if len(self._waiting) >= WAITING_MAX:
            message = f"{WAITING_MAX} calls wait for {self._name} already"
            error = failure("connect_failed", message)
            self._host.loop.call_soon(call.fail, error)  # a sink is not called inside `open`
            return
        self._waiting[call] = None
        self._grow()

    def withdraw(self, call: Call) -> None:
        """Forget a `call` that waits."""
        self._waiting.pop(call, None)

    def why_waiting(self) -> str:
        """Why a call got no connection in time."""
        connections_max = self._connections_max
        if len(self._taking) >= connections_max:
            return f"all {connections_max} connections of {self._name} are busy"
        return f"no connection in time to {self._name}"

    def close(self) -> None:
        """Close every connection; calls break."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call.broke("harmost stops")
        for connection in [*self._taking, *self._ending]:
            connection.close()

    # --- For connections -------------------------------------------------------------------------

    def idle(self, connection: Http1Connection) -> None:
        """`connection` can take a call."""
        self._idle.append(connection)
        self._pump()

    def ready(self, connection: Http2Connection) -> None:
        """`connection` knows what the provider allows, for the first time."""
        opening = self._opening.get(connection)
        if opening is not None and not opening.done():
            opening.set_result(None)

    def roomier(self) -> None:
        """A connection may have more room than before."""
        if self._waiting:
            self._pump()

    def retire(self, connection: Http2Connection) -> None:
        """`connection` takes no call any more, but still carries some."""
        if connection in self._taking:
            self._taking.discard(connection)
            self._shared.remove(connection)
            self._ending.add(connection)
        if self._waiting:
            self._grow()

    def gone(self, connection: _Connection) -> None:
        """`connection` is closed."""
        self._taking.discard(connection)
        self._ending.discard(connection)
        if isinstance(connection, Http1Connection):
            if connection in self._idle:
                self._idle.remove(connection)
        else:
            if connection in self._shared:
                self._shared.remove(connection)
            opening = self._opening.get(connection)
            if opening is not None and not opening.done():
                opening.set_exception(ConnectionResetError())
        if self._waiting:
            self._grow()
        self._say_if_empty()

    # --- Queue -----------------------------------------------------------------------------------

    def _place(self, call: Call) -> bool:
        """Start `call` on a connection that is there, the one with the most room first."""
        while self._idle:
            if self._idle.pop().start(call):
                return True
        while self._shared:
            best = max(self._shared, key=_room) if len(self._shared) > 1 else self._shared[0]
            if best.room <= 0:
                return False
            if best.start(call):
                return True
        return False

    def _pump(self) -> None:
        """Start what waits, as far as there is room."""
        waiting = self._waiting
        while waiting:
            call = next(iter(waiting))
            if not self._place(call):
                self._grow()
                return
            del waiting[call]

    def _grow(self) -> None:
        """Open as many connections as those who wait need, within the bounds."""
        if self._http2_streams:
            wanted = -(-len(self._waiting) // self._http2_streams)
        elif self._spec.http2 == "auto" and self.target.tls and not self._is_http1:
            wanted = 1  # it may turn out to carry all of them
        else:
            wanted = len(self._waiting)
        connections_max = self._connections_max
        free = min(connections_max - len(self._taking), 2 * connections_max - len(self))
        while self._connecting < min(wanted, free):
            self._connecting += 1
            self._host.spawn(self._connect())

    # --- Connecting ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        why = ""
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                connection = await self._open()
        except TimeoutError:
            why = "no connection in time"
        except ssl.SSLCertVerificationError as error:
            why = f"certificate refused: {error.verify_message}"
        except Exception as error:  # noqa: BLE001 - root of a task; one provider is not the others
            # The class alone: a message may hold what the network said.
            why = f"no connection: {type(error).__name__}"
        else:
            self._connecting -= 1
            self._join(connection)
            return
        self._connecting -= 1
        self._fail(why)

    async def _open(self) -> _Connection:
        """A connection that can take calls."""
        target, loop = self.target, self._host.loop
        context = await self._host.tls.offering(self._spec.http2) if target.tls else None
        greeter = _Greeter(self._protocol)
        await loop.create_connection(
            lambda: greeter,
            target.host,
            target.port,
            ssl=context,
            server_hostname=target.host if target.tls else None,
        )
        connection = greeter.connection
        if connection is None:
            raise ConnectionResetError
        if isinstance(connection, Http2Connection):
            await self._settings(connection)
        return connection

    def _protocol(self, transport: asyncio.Transport) -> _Connection:
        """The protocol that both sides speak, by ALPN or, without TLS, by the document."""
        tls = transport.get_extra_info("ssl_object")
        is_http2 = tls.selected_alpn_protocol() == "h2" if tls else self._spec.http2 is True
        if self._spec.http2 is True and not is_http2:
            raise ConnectionRefusedError
        loop = self._host.loop
        if not is_http2:
            self._is_http1, self._http2_streams = True, 0
            return Http1Connection(self, loop)
        connection = Http2Connection(self, loop)
        self._opening[connection] = loop.create_future()
        return connection

    async def _settings(self, connection: Http2Connection) -> None:
        """Wait until the provider has said what it allows."""
        try:
            await self._opening[connection]
        except BaseException:
            connection.close()
            raise
        finally:
            del self._opening[connection]
        self._http2_streams = max(min(connection.streams_max, STREAMS_MAX), 1)

    def _join(self, connection: _Connection) -> None:
        self._taking.add(connection)
        if isinstance(connection, Http1Connection):
            self._idle.append(connection)
        else:
            self._shared.append(connection)
        self._pump()

    def _fail(self, why: str) -> None:
        """A connection could not be made: who waits longest hears it, or all when none is left."""
        error = failure("connect_failed", f"{self._name}: {why}")
        alone = not self._connecting and not self._taking
        for call in list(self._waiting) if alone else list(self._waiting)[:1]:
            self.withdraw(call)
            call.fail(error)
        if self._waiting:
            self._grow()
        self._say_if_empty()

    def _say_if_empty(self) -> None:
        if not (self._taking or self._ending or self._waiting or self._connecting):
            self._host.empty(self)


class _Greeter(asyncio.Protocol):
    """Hands a new transport over to the protocol that fits it."""

    def __init__(self, choose: Callable[[asyncio.Transport], _Connection]) -> None:
        self._choose = choose
        self.connection: _Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Choose, hand over."""
        wire = cast(asyncio.Transport, transport)
        try:
            connection = self.connection = self._choose(wire)
        except ConnectionRefusedError:
            wire.abort()
            return
        wire.set_protocol(connection)
        connection.connection_made(wire)


def _room(connection: Http2Connection) -> int:
    return connection.room
