"""Who may come in: limits on calls in flight, and keys that make a call happen once.

Everything here is memory of one Router, bounded, and decided without waiting.
"""

import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from harmost.core.errors import AlreadyExists, Conflict, InvalidInput, RateLimited
from harmost.core.resources.kinds import TenantSpec
from harmost.core.resources.resolve import Resource
from harmost.core.tenants import ancestors

__all__ = ["IdempotencyKeys", "InFlight"]

IN_FLIGHT_MAX = 4_000  # of one Router: about 25 KB each at the worst
IN_FLIGHT_RETRY_S = 0.5
KEYS_MAX = 100_000
KEY_LIFE_S = 24 * 3600


class InFlight:
    """Counts calls that run, for each level of a tenant path and for the whole Router."""

    def __init__(self, *, calls_max: int = IN_FLIGHT_MAX) -> None:
        self._calls_max = calls_max
        self._counts: dict[str, int] = {}
        self.calls = 0

    def enter(self, tenant: str, tenants: Mapping[str, Resource[TenantSpec]]) -> None:
        """Count one more; raises `RateLimited`, counting nothing, where a limit is reached."""
        if self.calls >= self._calls_max:
            raise RateLimited(
                f"{self.calls} calls are in flight, as many as this Router takes: try again later",
                retry_after_s=IN_FLIGHT_RETRY_S,
            )
        levels = ancestors(tenant)
        for level in levels:
            known = tenants.get(level)
            count = self._counts.get(level, 0)
            if known is not None and count >= known.spec.in_flight_max:
                raise RateLimited(
                    f"tenant `{level}` has {count} calls in flight, as many as it may: "
                    "try again later or raise `in_flight_max`",
                    retry_after_s=IN_FLIGHT_RETRY_S,
                    details={"tenant": level},
                )
        self.calls += 1
        for level in levels:
            self._counts[level] = self._counts.get(level, 0) + 1

    def leave(self, tenant: str) -> None:
        """Undo one `enter`."""
        self.calls -= 1
        for level in ancestors(tenant):
            self._counts[level] -= 1
            if not self._counts[level]:
                del self._counts[level]


class IdempotencyKeys:
    """Remembers keyed calls of this Router: running ones, and finished ones for a day."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._running: dict[tuple[str, str], bytes] = {}
        self._done: OrderedDict[tuple[str, str], tuple[float, bytes, str]] = OrderedDict()

    @contextmanager
    def claimed(
        self, principal: str, key: str, body_digest: bytes, record_id: str
    ) -> Generator[None]:
        """Hold `key` while the call runs. An empty key claims nothing.

        Raises `Conflict` while another call holds it, `AlreadyExists` after one did.
        """
        if not key:
            yield
            return
        name = (principal, key)
        self._refuse_known(name, body_digest)
        self._running[name] = body_digest
        try:
            yield
        finally:
            del self._running[name]
            self._done[name] = (time.monotonic() + KEY_LIFE_S, body_digest, record_id)
            while len(self._done) > self._keys_max:
                self._done.popitem(last=False)

    def _refuse_known(self, name: tuple[str, str], body_digest: bytes) -> None:
        running = self._running.get(name)
        expires_s, done, record_id = self._done.get(name, (0.0, None, ""))
        known = running or (done if expires_s > time.monotonic() else None)
        if known is None:
            return
        if known != body_digest:
            raise InvalidInput(
                f"idempotency key `{name[1]}` was used for another request: use a new key"
            )
        if running is not None:
            raise Conflict(
                f"the call with idempotency key `{name[1]}` is still running: wait for it"
            )
        raise AlreadyExists(
            f"the call with idempotency key `{name[1]}` was made: see record `{record_id}`",
            details={"record_id": record_id},
        )
