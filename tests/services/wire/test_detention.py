"""Connections that reset too much share one small allowance; nobody else waits."""

import asyncio
from contextlib import suppress

import ngh2
from wire_harness import RawClient, eventually, pb, running

from harmost.services.wire.detention import DETAINED_MAX, TURN_RESETS, TURN_S, Detention


class Waiting:
    """Has `resets` to read, as many at a time as it is let."""

    def __init__(self, resets: int, log: list[tuple[int, int]], number: int = 0) -> None:
        self.resets = resets
        self._log = log
        self._number = number

    def read_on(self, resets_max: int) -> tuple[int, bool]:
        taken = min(resets_max, self.resets)
        self.resets -= taken
        self._log.append((self._number, taken))
        return taken, self.resets > 0


class Clock:
    """A loop that only has timers, which the test lets expire."""

    def __init__(self) -> None:
        self.due: list[tuple[float, object]] = []

    def call_later(self, delay_s: float, callback: object) -> "Clock":
        self.due.append((delay_s, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def turn(self) -> None:
        ((delay_s, callback),) = self.due
        assert delay_s == TURN_S
        self.due.clear()
        callback()  # type: ignore[operator]


def detention() -> tuple[Detention, Clock]:
    clock = Clock()
    return Detention(clock), clock  # type: ignore[arg-type]


def test_all_who_wait_share_one_allowance_a_turn() -> None:
    held, clock = detention()
    log: list[tuple[int, int]] = []
    for number in range(20):
        assert held.enter(Waiting(100, log, number))
    turns = 0
    while len(held):
        log.clear()
        clock.turn()
        assert sum(taken for _, taken in log) <= TURN_RESETS
        turns += 1
    assert turns >= 20 * 100 / TURN_RESETS
    assert clock.due == []  # nobody waits: no timer


def test_whoever_waits_longest_is_next() -> None:
    held, clock = detention()
    log: list[tuple[int, int]] = []
    for number in range(3):
        held.enter(Waiting(TURN_RESETS * 2, log, number))
    for _ in range(5):
        clock.turn()
    assert [number for number, _ in log] == [0, 1, 2, 0, 1]


def test_connections_that_reset_nothing_more_cost_a_place_in_the_turn_each() -> None:
    class Idle:
        def read_on(self, resets_max: int) -> tuple[int, bool]:
            log.append((0, 0))
            return 0, True

    held, clock = detention()
    log: list[tuple[int, int]] = []
    for _ in range(DETAINED_MAX):
        held.enter(Idle())
    clock.turn()
    assert len(log) == TURN_RESETS
    assert len(held) == DETAINED_MAX


def test_who_comes_when_all_places_are_taken_is_refused() -> None:
    held, _ = detention()
    log: list[tuple[int, int]] = []
    assert all(held.enter(Waiting(1, log)) for _ in range(DETAINED_MAX))
    assert not held.enter(Waiting(1, log))
    held.stop()
    assert len(held) == 0


async def flood(client: RawClient, pairs: int) -> None:
    """Open and reset, as fast as it goes."""
    for _ in range(pairs // 100):
        with suppress(ngh2.NGH2Error):
            for _ in range(100):
                client.session.reset_stream(client.call("Sleep"), 8)
            client.flush()
        await asyncio.sleep(0)


async def test_attackers_wait_and_a_caller_beside_them_does_not() -> None:
    async with running("wire") as server, server.stub() as stub:
        held = server.server._detention
        assert held is not None
        attackers = [await RawClient.connect(server.port) for _ in range(8)]
        floods = [asyncio.create_task(flood(client, 2_000)) for client in attackers]
        await eventually(lambda: len(held) > 0)
        for _ in range(20):
            await stub.EmptyCall(pb.Empty(), timeout=5)
            assert len(held) <= DETAINED_MAX
        for task in floods:
            await task
        for client in attackers:
            client.close()
        await eventually(lambda: not len(held), within_s=30)
        await stub.EmptyCall(pb.Empty())


async def test_what_waits_is_all_taken_and_the_connection_lives_on() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        held = server.server._detention
        assert held is not None
        await flood(client, 1_000)  # below what ends a connection
        stream_id = client.call("EmptyCall")
        await eventually(lambda: client.status(stream_id) == 0, within_s=20)
        assert len(held) == 0
        assert server.servicer.entered == server.servicer.cancelled
        assert not client.closed.done()
        client.close()


async def test_a_connection_that_ends_while_it_waits_is_forgotten() -> None:
    async with running("wire") as server, server.stub() as stub:
        client = await RawClient.connect(server.port)
        held = server.server._detention
        assert held is not None
        await flood(client, 3_000)
        await eventually(lambda: len(held) == 1)
        client.transport.abort()
        await eventually(lambda: len(held) == 0, within_s=20)
        await stub.EmptyCall(pb.Empty())
        await eventually(lambda: len(server.server.connections) == 1, within_s=20)
