"""The timer wheel: never early, late by little, and free of what was cleared."""

import asyncio
import random

import pytest

from harmost.services.upstream.wheel import Alarm, Timer, Wheel

TICK_S = 0.005


class Clock:
    """A loop's clock and `call_later`, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.due: list[tuple[float, object]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: object) -> "Clock.Handle":
        handle = Clock.Handle(self, (self.now_s + delay_s, call))
        self.due.append(handle.entry)
        return handle

    def advance(self, seconds: float) -> None:
        """Let time go by; what became due is called, late if need be."""
        self.now_s += seconds
        for entry in [entry for entry in self.due if entry[0] <= self.now_s]:
            self.due.remove(entry)
            entry[1]()  # type: ignore[operator]

    class Handle:
        def __init__(self, clock: "Clock", entry: tuple[float, object]) -> None:
            self.clock, self.entry = clock, entry

        def cancel(self) -> None:
            if self.entry in self.clock.due:
                self.clock.due.remove(self.entry)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wheel(clock: Clock) -> Wheel:
    return Wheel(clock, TICK_S)  # type: ignore[arg-type]


def test_random_timers_are_never_early_and_late_by_two_ticks(clock: Clock, wheel: Wheel) -> None:
    rng = random.Random(1)
    due: dict[int, float] = {}
    fired: dict[int, float] = {}

    def expired(n: int) -> Timer:
        return Alarm(lambda now_s: fired.__setitem__(n, now_s))

    timers = [expired(n) for n in range(300)]
    for _ in range(4_000):
        n = rng.randrange(300)
        if rng.random() < 0.3:
            wheel.clear(timers[n])
            due.pop(n, None)
        else:
            due[n] = clock.now_s + rng.random() * 0.3
            wheel.set(timers[n], due[n])
        clock.advance(0.001)
        for n, at_s in fired.items():
            assert due[n] <= at_s <= due[n] + 2 * TICK_S + 0.001
            del due[n]
        fired.clear()
        assert len(wheel) == len(due)
    assert all(at_s > clock.now_s - 2 * TICK_S - 0.001 for at_s in due.values())


def test_a_loop_that_stood_still_fires_everything_once(clock: Clock, wheel: Wheel) -> None:
    fired: list[int] = []
    for n in range(50):
        wheel.set(Alarm(lambda _now_s, n=n: fired.append(n)), clock.now_s + n * 0.01)  # type: ignore[misc]
    clock.advance(10.0)
    assert sorted(fired) == list(range(50))


def test_it_does_not_tick_without_timers(clock: Clock, wheel: Wheel) -> None:
    timer = Alarm(lambda _now_s: None)
    wheel.set(timer, clock.now_s + 0.01)
    assert len(clock.due) == 1
    wheel.clear(timer)
    clock.advance(TICK_S)
    assert clock.due == []
    clock.advance(100.0)
    wheel.set(timer, clock.now_s + 0.01)
    assert len(clock.due) == 1


def test_a_timer_may_set_and_clear_others_as_it_expires(clock: Clock, wheel: Wheel) -> None:
    fired: list[str] = []
    other = Alarm(lambda _now_s: fired.append("other"))

    def first(now_s: float) -> None:
        fired.append("first")
        wheel.clear(other)
        if len(fired) < 3:
            wheel.set(again, now_s)

    again = Alarm(first)
    wheel.set(again, clock.now_s)
    wheel.set(other, clock.now_s)
    for _ in range(10):
        clock.advance(TICK_S)
    assert fired == ["first", "first", "first"]
    assert len(wheel) == 0


def test_what_was_stopped_never_fires(clock: Clock, wheel: Wheel) -> None:
    fired: list[float] = []
    wheel.set(Alarm(fired.append), clock.now_s + 0.01)
    wheel.stop()
    clock.advance(1.0)
    assert fired == []


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop, TICK_S)
    fired = loop.create_future()
    started_s = loop.time()
    wheel.set(Alarm(lambda _now_s: fired.set_result(None)), started_s + 0.05)
    await fired
    assert loop.time() >= started_s + 0.05
