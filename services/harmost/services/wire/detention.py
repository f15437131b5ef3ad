"""Where connections wait that reset more than is usual: what they sent is read a little at a time.

All of a server's share one allowance, so that a thousand attackers together hold the loop no longer
than one. Reads nothing itself; whoever waits here has stopped reading its socket.
"""

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["DETAINED_MAX", "RESETS_BURST", "RESETS_PER_S", "Detention"]

# A connection may reset this much at once, and this often, before it has to wait: four times what
# cancels a tenth of 2,500 calls a second.
RESETS_BURST = 64
RESETS_PER_S = 1_000
# A turn serves those who wait until they have reset this often: some 0.4 ms of the loop, and 4,000
# resets a second, a fraction of a core.
TURN_S = 0.004
TURN_RESETS = 16
# Each may hold one read of its socket, at most 256 KiB. Whoever comes when all places are taken is
# ended: the mesh is under attack, and a connection can be made again.
DETAINED_MAX = 64


class Detained(Protocol):
    """A connection that has to wait."""

    def read_on(self, resets_max: int) -> tuple[int, bool]:
        """Take some of what was read, up to about `resets_max` resets.

        How many it was, and whether anything is left to take.
        """
        ...


class Detention:
    """Serves those who wait in turn, oldest first, TURN_RESETS every TURN_S."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Detained] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: Detained) -> bool:
        """Have `connection` wait for its turns; False when every place is taken."""
        if len(self._waiting) >= DETAINED_MAX:
            return False
        self._waiting.append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(TURN_S, self._turn)
        return True

    def stop(self) -> None:
        """Serve nobody any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        left = TURN_RESETS
        for _ in range(len(self._waiting)):
            if left <= 0:
                break
            connection = self._waiting.popleft()
            resets, has_more = connection.read_on(left)
            left -= max(resets, 1)
            if has_more:
                self._waiting.append(connection)
        self._timer = self._loop.call_later(TURN_S, self._turn) if self._waiting else None
