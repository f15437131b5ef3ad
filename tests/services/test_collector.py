"""When everything is looked at for garbage: when nobody waits, or when it has become too much."""

import asyncio
import gc
import weakref

import pytest

from harmost.services import collector
from harmost.services.collector import AGED_MIN, GROWN_BLOCKS_MAX, collecting, is_due


class Cycle:
    """Holds itself: only a collection frees it."""

    def __init__(self) -> None:
        self.me = self


def full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


@pytest.mark.parametrize(
    ("grown_blocks", "aged", "busy_share", "due"),
    [
        (0, AGED_MIN, 0.0, True),
        (0, AGED_MIN - 1, 0.0, False),  # nothing that is worth it
        (0, 10 * AGED_MIN, 0.5, False),  # somebody would wait
        (GROWN_BLOCKS_MAX, 10 * AGED_MIN, 1.0, False),
        (GROWN_BLOCKS_MAX + 1, 0, 1.0, True),  # it cannot be put off for ever
        (-GROWN_BLOCKS_MAX, 0, 0.0, False),
    ],
)
def test_a_process_collects_when_it_is_idle_or_has_grown(
    grown_blocks: int, aged: int, busy_share: float, due: bool
) -> None:
    assert is_due(grown_blocks=grown_blocks, aged=aged, busy_share=busy_share) is due


async def test_objects_that_come_to_stay_set_off_no_full_collection() -> None:
    async with collecting():
        before = full_collections()
        stay = [[number] for number in range(300_000)]
        assert full_collections() == before
    del stay


async def test_garbage_that_is_young_is_collected_at_once() -> None:
    async with collecting():
        cycle = weakref.ref(Cycle())
        stay = [[number] for number in range(5_000)]
        assert cycle() is None
    del stay


async def test_garbage_that_became_old_is_collected_once_the_process_is_idle() -> None:
    async with collecting(look_s=0.05):
        made = Cycle()
        cycle = weakref.ref(made)
        stay = [[number] for number in range(60_000)]
        del made
        assert cycle() is not None
        async with asyncio.timeout(20):
            while cycle() is not None:
                await asyncio.sleep(0.05)
    del stay


async def test_garbage_that_became_too_much_is_collected_though_the_process_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "IDLE_SHARE", 0.0)  # it never is
    monkeypatch.setattr(collector, "GROWN_BLOCKS_MAX", 200_000)
    async with collecting(look_s=0.02):
        await asyncio.sleep(0.05)
        made = Cycle()
        cycle = weakref.ref(made)
        stay = [[number] for number in range(20_000)]
        del made
        await asyncio.sleep(0.1)
        assert cycle() is not None
        stay += [[number] for number in range(100_000)]
        async with asyncio.timeout(20):
            while cycle() is not None:
                await asyncio.sleep(0.02)
    del stay


async def test_the_interpreters_own_rules_are_put_back() -> None:
    before = gc.get_threshold()
    async with collecting():
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before
    gc.unfreeze()
