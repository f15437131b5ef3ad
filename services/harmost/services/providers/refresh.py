"""Keeps credentials fresh off the hot path: fetches in threads of its own before they expire."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from harmost.core.resources.kinds import ProviderSpec

from .grants import Source
from .sources import is_cloud, source

__all__ = ["Refresher"]

_THREADS_MAX = 4  # each may wait for a token server; never the loop's own, which look up names
_FIRST_WAIT_S = 2.0  # a snapshot waits so long for its first tokens; then they come when they come
_TICK_S = 1.0


class Refresher:
    """Every source that an endpoint uses, of the running snapshot or of a mission's older one.

    A source is forgotten when no endpoint holds it any more.
    """

    def __init__(self, *, tick_s: float = _TICK_S, clock: Callable[[], float] = time.time) -> None:
        self._sources: WeakValueDictionary[tuple[str, str], Source] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(_THREADS_MAX, "harmost.credentials")
        self._fetching: dict[Source, asyncio.Future[None]] = {}
        self._tick_s, self._clock = tick_s, clock

    async def sources(self, specs: Collection[ProviderSpec]) -> Mapping[tuple[str, str], Source]:
        """The sources of `specs` by `key`: files and variables read again, tokens kept."""
        found: dict[tuple[str, str], Source] = {}
        for spec in specs:
            key = self.key(spec)
            known = self._sources.get(key) if is_cloud(spec.credentials) else None
            if key not in found:
                found[key] = known or source(key[0], scope=key[1], clock=self._clock)
        # Files and variables never wait behind a token server that hangs.
        keys = [each for each in found.values() if not is_cloud(each.title)]
        await asyncio.to_thread(_fetch_all, keys)
        self._sources.update(found)
        fresh = [self._fetch(each) for each in found.values() if not each.due_s]
        if fresh:
            await asyncio.wait(fresh, timeout=_FIRST_WAIT_S)
        return found

    @staticmethod
    def key(spec: ProviderSpec) -> tuple[str, str]:
        """What sets two sources apart."""
        return spec.credentials, "" if spec.credentials.startswith("aws:") else spec.auth_scope

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Renew what is due until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._renew_forever(), name="credentials.renew")
            try:
                yield
            finally:
                task.cancel()
                self._threads.shutdown(wait=False, cancel_futures=True)

    async def _renew_forever(self) -> None:
        while True:
            self._renew()
            await asyncio.sleep(self._tick_s)

    def _renew(self) -> None:  # its own function: a local of the loop would keep a source alive
        now_s = self._clock()
        for each in list(self._sources.values()):
            if each.due_s <= now_s:
                self._fetch(each)

    def _fetch(self, each: Source) -> asyncio.Future[None]:
        """Fetch it in a thread; one at a time."""
        future = self._fetching.get(each)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._fetching[each] = loop.run_in_executor(self._threads, each.fetch)
            future.add_done_callback(lambda _: self._fetching.pop(each, None))
        return future


def _fetch_all(sources: Collection[Source]) -> None:
    for each in sources:
        each.fetch()
