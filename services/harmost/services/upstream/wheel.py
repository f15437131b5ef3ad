"""One coarse timer for everything that waits: O(1) to set, move and clear, no timer per token.

A deadline that moves with every token is not set again: what expires looks at its own clock and
sets itself anew.
"""

import asyncio
from collections.abc import Callable

__all__ = ["Alarm", "Timer", "Wheel"]


class Timer:
    """A deadline; set and cleared often. What has one alone derives from it, and holds no other object."""

    __slots__ = ("slot",)

    def __init__(self) -> None:
        self.slot = -1

    def expired(self, now_s: float) -> None:
        """It is time; called with the loop's time."""
        raise NotImplementedError


class Alarm(Timer):
    """A timer that calls its owner, which may have several."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[float], None]) -> None:
        super().__init__()
        self._call: Callable[[float], None] | None = call

    def expired(self, now_s: float) -> None:
        """It is time."""
        if self._call is not None:
            self._call(now_s)

    def end(self) -> None:
        """Let go of the owner: it would be kept by what it keeps."""
        self._call = None


class Wheel:
    """Timers by slots of `tick_s`; ticks only while there are any. Never early, late by 1-2 ticks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float) -> None:
        self._loop = loop
        self._tick_s = tick_s
        self._slots: dict[int, dict[Timer, None]] = {}
        self._count = 0
        self._reached = 0  # every slot up to here has been served
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def set(self, timer: Timer, at_s: float) -> None:
        """Let `timer` expire at `at_s` of the loop's clock, and not when it was set for before."""
        slot = int(at_s / self._tick_s) + 1
        if slot == timer.slot:
            return
        self.clear(timer)
        if not self._count:
            self._reached = max(self._reached, int(self._loop.time() / self._tick_s))
            if self._handle is None:
                self._handle = self._loop.call_later(self._tick_s, self._tick)
        timer.slot = slot = max(slot, self._reached + 1)
        self._slots.setdefault(slot, {})[timer] = None
        self._count += 1

    def clear(self, timer: Timer) -> None:
        """Forget `timer`."""
        if timer.slot < 0:
            return
        timers = self._slots[timer.slot]
        del timers[timer]
        if not timers:
            del self._slots[timer.slot]
        timer.slot = -1
        self._count -= 1

    def stop(self) -> None:
        """Forget all timers."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for timers in self._slots.values():
            for timer in timers:
                timer.slot = -1
        self._slots.clear()
        self._count = 0

    def _tick(self) -> None:
        now_s = self._loop.time()
        now_slot = int(now_s / self._tick_s)
        due = self._due(now_slot)
        self._reached = max(self._reached, now_slot)
        for timer in due:
            # An earlier one of this tick may have cleared or moved it.
            if 0 <= timer.slot <= now_slot:
                self.clear(timer)
                timer.expired(now_s)
        self._handle = self._loop.call_later(self._tick_s, self._tick) if self._count else None

    def _due(self, now_slot: int) -> list[Timer]:
        slots = self._slots
        if now_slot - self._reached < len(slots):
            reached = [slot for slot in range(self._reached + 1, now_slot + 1) if slot in slots]
        else:  # the loop stood still for long
            reached = sorted(slot for slot in slots if slot <= now_slot)
        return [timer for slot in reached for timer in slots[slot]]
