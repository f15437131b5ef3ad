"""The kill switches that are on: changed one by one, on disk before in force, then pushed.

They wait for no document: a change of documents may take seconds to check, a kill must not.
"""

import asyncio
import bisect
import logging
import time
from collections.abc import Callable

from harmost.core.errors import InvalidInput, RateLimited
from harmost.core.policy.revocations import Revocation, Revocations
from harmost.core.tenants import visible
from harmost.services.policy.kills import StopChange
from harmost.services.policy.store import PolicyStore

__all__ = ["Switches"]

log = logging.getLogger(__name__)

CHANGES_WAITING_MAX = 256  # each is a write to the disk: some milliseconds
RETRY_AFTER_S = 1.0
_SEPARATOR = "\n"  # in no kind, name or tenant


class Switches:
    """Everything that is revoked, as `store` keeps it. `push` is called with each new set."""

    def __init__(self, store: PolicyStore, push: Callable[[Revocations], None]) -> None:
        self._store = store
        self._push = push
        self._lock = asyncio.Lock()
        self._waiting = 0
        self.revocations = store.revocations()

    async def change(self, prepare: Callable[[Revocations, int], StopChange]) -> StopChange:
        """Carry out what `prepare` makes of what is revoked now and of the time in milliseconds.

        A caller that goes away does not stop it half-way.
        """
        if self._waiting >= CHANGES_WAITING_MAX:
            raise RateLimited(
                f"{CHANGES_WAITING_MAX} revocations are waiting: try again",
                retry_after_s=RETRY_AFTER_S,
            )
        self._waiting += 1
        changing = asyncio.ensure_future(self._changed(prepare))
        # Whoever asked may be gone: what it raised then is looked at by no one else.
        changing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return await asyncio.shield(changing)

    def page(self, tenant: str, *, size: int, token: str) -> tuple[list[Revocation], str]:
        """Those that a key of `tenant` may see, in order, after `token`; and the next page's token."""
        after = tuple(token.split(_SEPARATOR)) if token else ()
        if after and len(after) != 3:
            raise InvalidInput("`page_token` is not one that was given: begin without it")
        known = self.revocations.all
        start = bisect.bisect_right(known, after, key=lambda each: each.key) if after else 0
        found: list[Revocation] = []
        for each in known[start:]:
            if visible(tenant, each.tenant):
                found.append(each)
                if len(found) > size:
                    return found[:size], _SEPARATOR.join(found[size - 1].key)
        return found, ""

    async def _changed(self, prepare: Callable[[Revocations, int], StopChange]) -> StopChange:
        try:
            async with self._lock:
                change = prepare(self.revocations, time.time_ns() // 1_000_000)
                if not change.put and not change.removed:
                    return change
                await asyncio.to_thread(
                    self._store.revoke,
                    change.revocations.sequence,
                    put=change.put,
                    removed=change.removed,
                )
                self.revocations = change.revocations
                self._push(change.revocations)
        finally:
            self._waiting -= 1
        what = change.revocation
        log.warning(
            "%s %s %r of tenant %r, by %s",
            "stopped" if what in change.put else "restored",
            what.kind,
            what.name,
            what.tenant,
            what.author,
        )
        return change
