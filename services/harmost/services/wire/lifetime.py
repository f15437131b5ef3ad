"""The long life of a connection: handshake, keep-alive, pings, idle limit, age and drain.

Looks at the clock when the server ticks; makes no timer of its own, so that 10,000 connections
cost one timer. Times are on the loop's clock.
"""

import random
import weakref
from typing import TYPE_CHECKING

from .engine import ENHANCE_YOUR_CALM, EngineError
from .limits import Limits

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Lifetime"]

_KEEPALIVE = b"harmost1"
_DRAIN = b"harmost2"
_DRAIN_PING_S = 2.0  # a peer that does not answer the drain's ping in this time gets no more


class Lifetime:
    """When one connection pings, drains and closes."""

    __slots__ = (
        "_connection",
        "_drain_due_s",
        "_expires_s",
        "_heard_s",
        "_idle_since_s",
        "_limits",
        "_made_s",
        "_ping_tokens",
        "_ping_updated_s",
        "_pinged_s",
        "_seen_calls",
        "_streams_die_s",
        "calls",
        "draining",
        "heard",
        "settled",
    )

    def __init__(self, connection: "Connection", limits: Limits) -> None:
        now_s = connection.loop.time()
        self._connection: Connection = weakref.proxy(connection)  # whose part it is
        self._limits = limits
        self._made_s = now_s
        self._expires_s = _age_s(limits) + now_s
        self._heard_s = now_s
        self._idle_since_s = now_s
        self._pinged_s: float | None = None
        self._ping_tokens = float(limits.ping_rate[0])
        self._ping_updated_s = now_s
        self._seen_calls = 0
        self._drain_due_s: float | None = None
        self._streams_die_s: float | None = None
        self.calls = 0  # ever begun
        self.draining = False
        self.heard = False  # bytes have come since the last tick
        self.settled = False  # the peer's SETTINGS have come

    def tick(self, now_s: float) -> None:
        """Do what has become due."""
        if not self.settled:
            if now_s - self._made_s > self._limits.handshake_s:
                self._connection.abort()
            return
        self._keep_alive(now_s)
        if self.draining:
            self._end_drain(now_s)
        elif now_s > self._expires_s:
            self.drain(self._limits.age_grace_s)
        else:
            self._watch_idle(now_s)

    def drain(self, grace_s: float | None) -> None:
        """Take no new streams soon, end when those that run have, cut them off after `grace_s`."""
        now_s = self._connection.loop.time()
        if grace_s is not None:
            self._streams_die_s = now_s + grace_s
        if self.draining:
            return
        self.draining = True
        self._drain_due_s = now_s + _DRAIN_PING_S
        # Two GOAWAYs with a round trip between: no stream that the peer has sent already is lost.
        try:
            self._connection.engine.notice()
            self._connection.engine.ping(_DRAIN)
        except EngineError:
            self._connection.close()
            return
        self._connection.schedule()

    def check_drained(self) -> None:
        """Close a draining connection whose last call has ended."""
        if self.draining and self._drain_due_s is None and not self._connection.streams:
            self._connection.close()

    def ping_received(self) -> None:
        """Count a PING of the peer's, which the engine answers; end a flood of them."""
        burst, per_s = self._limits.ping_rate
        now_s = self._connection.loop.time()
        earned = (now_s - self._ping_updated_s) * per_s
        self._ping_updated_s = now_s
        self._ping_tokens = min(float(burst), self._ping_tokens + earned) - 1
        if self._ping_tokens < 0:
            self._connection.terminate(ENHANCE_YOUR_CALM)

    def ping_acknowledged(self, opaque_data: bytes) -> None:
        """The peer has answered a PING of ours."""
        if opaque_data == _DRAIN:
            self._say_goaway()

    def _keep_alive(self, now_s: float) -> None:
        if self.heard:
            self.heard = False
            self._heard_s = now_s
            self._pinged_s = None
            return
        if self._pinged_s is not None:
            if now_s - self._pinged_s > self._limits.keepalive_timeout_s:
                self._connection.abort()
            return
        every_s = self._limits.keepalive_s
        if every_s is not None and now_s - self._heard_s > every_s:
            self._pinged_s = now_s
            try:
                self._connection.engine.ping(_KEEPALIVE)
            except EngineError:
                return  # it is ending
            self._connection.schedule()

    def _watch_idle(self, now_s: float) -> None:
        idle_s = self._limits.idle_s
        if self._connection.streams or self.calls != self._seen_calls:
            self._seen_calls = self.calls
            self._idle_since_s = now_s
        elif idle_s is not None and now_s - self._idle_since_s > idle_s:
            self.drain(None)

    def _end_drain(self, now_s: float) -> None:
        if self._drain_due_s is not None and now_s > self._drain_due_s:
            self._say_goaway()
        if self._streams_die_s is not None and now_s > self._streams_die_s:
            self._connection.terminate(0)

    def _say_goaway(self) -> None:
        if self._drain_due_s is None:
            return
        self._drain_due_s = None
        try:
            self._connection.engine.goaway()
        except EngineError:
            return  # it is ending
        self._connection.schedule()
        self.check_drained()


def _age_s(limits: Limits) -> float:
    """The age at which this connection leaves, jittered; infinite without a limit."""
    if limits.age_max_s is None:
        return float("inf")
    spread = random.uniform(-limits.age_jitter, limits.age_jitter)
    return limits.age_max_s * (1 + spread)
