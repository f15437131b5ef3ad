"""When garbage in cycles is collected: what is young as it comes, everything only when that is worth a stop.

A collection of everything looks at each object that lives, at 0.7 us: 190 ms with 3,000 streams, in which
no token moves. Python makes one whenever a quarter was added since the last, so that it came just as
streams did. What calls leave behind is free of cycles (tests/integration/test_cut_calls.py holds that),
and such a collection found nothing; so it is made by the rules below, and not by Python's.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["collecting", "is_due"]

# New objects until the young are looked at; such looks until what survived one is looked at again, and
# from then on is old. Each is a stop: 0.3 ms, and 1 ms. Python's own 10 for the second make it 4 ms.
YOUNG_MAX, LOOKS_MAX = 700, 3
NEVER = 2**31 - 1  # collections of the middle generation until Python would look at everything
LOOK_S = 5.0
# An idle process stops for nobody: it collects once this many lots of objects have become old.
AGED_MIN = 10
IDLE_SHARE = 0.02  # of one core
# Whether it is idle or not: 100 MB or so of small objects. 3,000 streams are a third of that.
GROWN_BLOCKS_MAX = 1_000_000


def is_due(*, grown_blocks: int, aged: int, busy_share: float) -> bool:
    """Whether to collect everything now.

    `grown_blocks` of memory were added since that was last done, `aged` lots of objects became old, and
    the process used `busy_share` of a core of late.
    """
    return grown_blocks > GROWN_BLOCKS_MAX or (busy_share < IDLE_SHARE and aged >= AGED_MIN)


@asynccontextmanager
async def collecting(*, look_s: float = LOOK_S) -> AsyncGenerator[None]:
    """Collect by these rules until the block ends. What lives now is never looked at again."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, LOOKS_MAX, NEVER)
    try:
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(_look_forever(look_s), name="collector")
            try:
                yield
            finally:
                looking.cancel()
    finally:
        gc.set_threshold(*before)


async def _look_forever(look_s: float) -> None:
    blocks = sys.getallocatedblocks()
    while True:
        cpu_s, began_s = time.process_time(), time.monotonic()
        await asyncio.sleep(look_s)
        busy_share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
        grown_blocks = sys.getallocatedblocks() - blocks
        if is_due(grown_blocks=grown_blocks, aged=gc.get_count()[2], busy_share=busy_share):
            gc.collect()
            blocks = sys.getallocatedblocks()
