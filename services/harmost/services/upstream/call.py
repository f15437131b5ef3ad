"""One call: where it stands, what its clock allows, and what its sink is told. Knows no socket."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol

from harmost.core.limits import PROVIDER_ERROR_BYTES_MAX
from harmost.core.providers.codec import ProviderError
from harmost.core.providers.failures import broken, failure
from harmost.core.providers.hidden import discreet
from harmost.services.providers.endpoints import Endpoint

from .limits import DRAIN_BYTES_MAX, DRAIN_S, REFUSALS_MAX
from .request import Request
from .upstream import Sink
from .wheel import Timer, Wheel

__all__ = ["Call", "Carrier", "Queue"]

_log = logging.getLogger(__name__)


class Carrier(Protocol):
    """The connection that a call is on."""

    def cancel(self, call: "Call") -> None:
        """Stop `call` at the provider."""
        ...

    def pause(self, call: "Call") -> None:
        """Read no more for `call`."""
        ...

    def resume(self, call: "Call") -> None:
        """Read on for `call`."""
        ...


class Queue(Protocol):
    """Where a call waits for a connection."""

    def submit(self, call: "Call") -> None:
        """Put `call` on a connection, or at the end of the queue."""
        ...

    def withdraw(self, call: "Call") -> None:
        """Forget a `call` that waits."""
        ...

    def why_waiting(self) -> str:
        """Why a call got no connection in time."""
        ...


class _Phase(Enum):
    WAITING = auto()  # for a connection
    SENT = auto()
    REFUSED = auto()  # the answer is not what was asked for: it is gathered to its bound
    BODY = auto()
    LEAVING = auto()
    OVER = auto()


class Call(Timer):
    """An `UpstreamCall`. Connections call the methods below "From the connection".

    INVARIANT: once it is over it holds nothing that holds it: what a call leaves must be free of
    cycles, or only a collection frees it, which stops the loop.
    """

    __slots__ = (
        "_body",
        "_deadline_s",
        "_drained_bytes",
        "_head",
        "_loop",
        "_over_at_s",
        "_paused",
        "_phase",
        "_queue",
        "_refusals",
        "_sink",
        "_wanted",
        "_wheel",
        "carrier",
        "endpoint",
        "grant",
        "heard_s",
        "request",
        "stream_id",
        "take",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        sink: Sink,
        *,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        wanted: str = "",
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.grant = (
            endpoint.credential.grant
        )  # what it is sent with, whatever is renewed meanwhile
        self.request: Request | None = None
        self.carrier: Carrier | None = None
        self.stream_id = 0
        self.heard_s = 0.0  # when bytes last came; kept by the connection
        self.take: Callable[[bytes], None] = _discard  # where the body's bytes go
        self._wanted = wanted  # media type of a good answer; "": any, with any status
        self._sink: Sink = sink
        self._wheel = wheel
        self._loop = loop
        self._queue: Queue | None = None
        self._phase = _Phase.WAITING
        self._paused = False
        self._refusals = 0
        self._body = bytearray()  # of a refusal
        self._head: tuple[int, Mapping[str, str]] = (0, {})
        self._drained_bytes = 0
        self._deadline_s = 0.0  # of a phase before the body
        self._over_at_s = loop.time() + endpoint.spec.total_timeout_ms / 1000

    # --- For its owner ---------------------------------------------------------------------------

    def cancel(self) -> None:
        """As `UpstreamCall.cancel` says."""
        if self._phase is _Phase.OVER:
            return
        carrier, queue = self.carrier, self._queue
        self._end()
        if carrier is not None:
            carrier.cancel(self)
        elif queue is not None:
            queue.withdraw(self)

    def leave(self) -> None:
        """As `UpstreamCall.leave` says."""
        if self._phase is not _Phase.BODY:
            self.cancel()
            return
        self.resume()
        self._phase = _Phase.LEAVING
        self.take = self._drain
        self._set(self._loop.time() + DRAIN_S)

    def pause(self) -> None:
        """As `UpstreamCall.pause` says."""
        if self._paused or self._phase in (_Phase.LEAVING, _Phase.OVER):
            return
        self._paused = True
        if self.carrier is not None:
            self.carrier.pause(self)

    def resume(self) -> None:
        """As `UpstreamCall.resume` says."""
        if not self._paused or self._phase is _Phase.OVER:
            return
        self._paused = False
        if self.carrier is not None:
            self.heard_s = now_s = self._loop.time()
            if self._phase is _Phase.SENT:
                self._deadline_s = now_s + self.endpoint.spec.first_byte_timeout_ms / 1000
            self._wheel.set(self, self._due_s())
            self.carrier.resume(self)

    def start(self, queue: Queue, request: Request) -> None:
        """Go to `queue`; once."""
        self._queue, self.request = queue, request
        self._wait()

    # --- From the connection ---------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing is wanted any more."""
        return self._phase is _Phase.OVER

    def sent(self, carrier: Carrier) -> None:
        """The request is on its way on `carrier`."""
        self.carrier = carrier
        self._phase = _Phase.SENT
        self._set(self._loop.time() + self.endpoint.spec.first_byte_timeout_ms / 1000)
        if self._paused:
            carrier.pause(self)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer's head; `headers` in lower case."""
        if self._phase is not _Phase.SENT:
            return
        self.request = (
            None  # it is not sent again: a stream runs for long, and would keep its prompt
        )
        if self._wanted and not (status == 200 and _media_type(headers) == self._wanted):
            self._phase = _Phase.REFUSED
            self._head = status, headers
            self.take = self._gather
            self._set(self._loop.time() + self.endpoint.spec.idle_timeout_ms / 1000)
            return
        self._phase = _Phase.BODY
        self.take = self._first
        self._tell(self._sink.on_response, status, headers)

    def end(self) -> None:
        """The answer is whole."""
        phase = self._phase
        if phase is _Phase.REFUSED:
            self._refuse()
        elif phase is not _Phase.OVER:
            sink = self._end()
            if phase is _Phase.BODY:
                self._tell(sink.on_end)

    def broke(self, why: str) -> None:
        """The connection or the stream is gone before the end; `why` holds no header."""
        phase = self._phase
        if phase is _Phase.REFUSED:
            self._refuse()
        elif phase is _Phase.LEAVING:
            self._end()
        elif phase is _Phase.BODY:
            self.fail(broken(f"{self._name} broke off: {why}"))
        else:
            self.fail(failure("connect_failed", f"no answer from {self._name}: {why}"))

    def refused(self) -> None:
        """The provider has not looked at the request: try again, if it is worth it."""
        if self._phase is not _Phase.SENT:
            self.broke("stream refused")
        elif self._refusals >= REFUSALS_MAX:
            self.fail(failure("overloaded", f"{self._name} refuses streams"))
        else:
            self._refusals += 1
            self.carrier = None
            self._phase = _Phase.WAITING
            self._wait()

    def fail(self, error: ProviderError) -> None:
        """End with `error`, unless it is over; the connection is not told."""
        if self._phase is _Phase.OVER:
            return
        phase = self._phase
        sink = self._end()
        if error.kind == "auth":
            self.endpoint.credential.refused(self.grant)
        error = discreet(error, self.grant.secrets)
        if phase is not _Phase.LEAVING:
            self._tell(sink.on_error, error)

    def crashed(self) -> None:
        """Its sink has raised: a bug of ours, which must not cost the connection's other calls."""
        _log.exception("the sink of a call to %s raised", self._name)
        self.cancel()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            what(*arguments)
        except Exception:  # noqa: BLE001 - one sink's bug is not the end of other calls
            self.crashed()

    # --- Clock -----------------------------------------------------------------------------------

    def _wait(self) -> None:
        assert self._queue is not None
        self._set(self._loop.time() + self.endpoint.spec.connect_timeout_ms / 1000)
        self._queue.submit(self)

    def _set(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._wheel.set(self, self._due_s())

    def _due_s(self) -> float:
        """When the call has taken too long, by its phase."""
        if self._paused and self._phase in (_Phase.SENT, _Phase.BODY):
            return self._over_at_s
        if self._phase is _Phase.BODY and self.take != self._first:
            silent_at_s = self.heard_s + self.endpoint.spec.idle_timeout_ms / 1000
            return min(silent_at_s, self._over_at_s)
        return min(self._deadline_s, self._over_at_s)

    def expired(self, now_s: float) -> None:
        """See whether it has taken too long: a deadline that moved was not set anew."""
        due_s = self._due_s()
        if now_s < due_s:
            self._wheel.set(self, due_s)
        else:
            self._expire()

    def _expire(self) -> None:
        carrier, queue, phase = self.carrier, self._queue, self._phase
        if phase is _Phase.WAITING:
            why = "no connection in time"
            if queue is not None:
                queue.withdraw(self)
                why = queue.why_waiting()
            self.fail(failure("connect_failed", why))
            return
        if carrier is not None:
            carrier.cancel(self)
        if phase is _Phase.REFUSED:
            self._refuse()
        else:
            self.fail(failure("stalled", f"{self._name} is silent for too long"))

    # --- Body ------------------------------------------------------------------------------------

    def _first(self, data: bytes) -> None:
        self.take = self._sink.on_data
        self._wheel.set(self, self._due_s())
        self._sink.on_data(data)

    def _gather(self, data: bytes) -> None:
        self._body += data[: PROVIDER_ERROR_BYTES_MAX - len(self._body)]
        if len(self._body) >= PROVIDER_ERROR_BYTES_MAX:
            if self.carrier is not None:
                self.carrier.cancel(self)
            self._refuse()

    def _drain(self, data: bytes) -> None:
        self._drained_bytes += len(data)
        if self._drained_bytes > DRAIN_BYTES_MAX:
            self.cancel()

    def _refuse(self) -> None:
        status, headers = self._head
        body = bytes(self._body)
        self.fail(self.endpoint.codec.error(status=status, headers=headers, body=body))

    def _end(self) -> Sink:
        """It is over; the sink that was, to be told."""
        self._phase = _Phase.OVER
        self.take = _discard
        self.carrier = self._queue = self.request = None
        self._wheel.clear(self)
        sink, self._sink = self._sink, _NOBODY
        return sink

    @property
    def _name(self) -> str:
        return self.endpoint.title


class _Nobody:
    """The sink of what is over."""

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Nobody listens any more."""

    def on_data(self, data: bytes) -> None:
        """Nobody listens any more."""

    def on_end(self) -> None:
        """Nobody listens any more."""

    def on_error(self, error: ProviderError) -> None:
        """Nobody listens any more."""


_NOBODY = _Nobody()
_discard = _NOBODY.on_data


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
