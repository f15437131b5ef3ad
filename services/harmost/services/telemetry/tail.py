"""Hands records to whoever follows them. A follower that reads too slowly misses some, and is told."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import contextmanager
from typing import NamedTuple

from harmost.core.errors import RateLimited
from harmost.core.tenants import visible
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Followed", "Tails"]

QUEUE_MAX = 256
TAILS_MAX = 64


class Followed(NamedTuple):
    """Which records: at or below `tenant` ("" is all), of `profile` and `status` ("" and 0 are any)."""

    tenant: str
    profile: str = ""
    status: int = 0

    def has(self, record: telemetry_pb2.Record) -> bool:
        """Whether `record` is one of them."""
        return (
            visible(self.tenant, record.tenant)
            and self.profile in ("", record.profile)
            and self.status in (0, record.status)
        )


class _Tail:
    """One follower."""

    def __init__(self, followed: Followed, queue_max: int) -> None:
        self._followed = followed
        self._missed = 0
        # None ends it.
        self._queue: asyncio.Queue[telemetry_pb2.TailDecisionsResponse | None] = asyncio.Queue(
            queue_max
        )

    def offer(self, record: telemetry_pb2.Record) -> None:
        if not self._followed.has(record):
            return
        if self._queue.full():
            self._missed += 1
            return
        self._queue.put_nowait(
            telemetry_pb2.TailDecisionsResponse(record=record, missed=self._missed)
        )
        self._missed = 0

    async def responses(self) -> AsyncGenerator[telemetry_pb2.TailDecisionsResponse]:
        while (response := await self._queue.get()) is not None:
            yield response

    def end(self) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)


class Tails:
    """Everyone who follows, at most TAILS_MAX."""

    def __init__(self, *, queue_max: int = QUEUE_MAX) -> None:
        self._queue_max = queue_max
        self._tails: set[_Tail] = set()

    @contextmanager
    def following(
        self, followed: Followed
    ) -> Generator[AsyncGenerator[telemetry_pb2.TailDecisionsResponse]]:
        """Records of those from now on, for as long as the block lasts."""
        if len(self._tails) >= TAILS_MAX:
            raise RateLimited(
                f"{TAILS_MAX} callers follow records already: try again", retry_after_s=10.0
            )
        tail = _Tail(followed, self._queue_max)
        self._tails.add(tail)
        try:
            yield tail.responses()
        finally:
            self._tails.discard(tail)

    def close(self) -> None:
        """End all followers, which else would last as long as the server lets them."""
        for tail in self._tails:
            tail.end()

    def offer(self, records: Iterable[telemetry_pb2.Record]) -> None:
        """Hand on `records`; never waits. O(records x followers)."""
        if self._tails:
            for record in records:
                for tail in self._tails:
                    tail.offer(record)
