"""Slots that no worker has any more: whoever finds one free takes it, replays its journal, frees it.

A slot is a worker's directory; the journal's lock says whether somebody has it. Fewer workers than
the last time leave slots behind that may owe settlements and records.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from harmost.core.errors import HarmostError, NotPossibleNow
from harmost.services.providers.endpoints import Endpoints
from harmost.services.router.attempt import AttemptTools
from harmost.services.router.recovery import recover

__all__ = ["Books", "adopting"]

log = logging.getLogger(__name__)

POLL_S = 0.2

Books: TypeAlias = Callable[[Path], AbstractAsyncContextManager[AttemptTools]]


@asynccontextmanager
async def adopting(
    root: Path, workers: Collection[str], books: Books, endpoints: Endpoints
) -> AsyncGenerator[None]:
    """Replay, beside what the block does, each slot below `root` that belongs to none of `workers`."""
    orphans = [
        journal.parent
        for journal in sorted(root.glob("*/journal"))
        if journal.parent.name not in workers
    ]
    async with asyncio.TaskGroup() as tasks:
        adopted = tasks.create_task(_adopt(orphans, books, endpoints), name="router.orphans")
        try:
            yield
        finally:
            adopted.cancel()


async def _adopt(orphans: list[Path], books: Books, endpoints: Endpoints) -> None:
    for slot in orphans:
        try:
            async with books(slot) as tools:
                await recover(tools, endpoints)
                await _nothing_owed(tools)
        except NotPossibleNow:
            continue  # another worker has it
        except HarmostError as error:
            log.error("the slot `%s` cannot be replayed: %s", slot, error)
        except Exception:  # the task root: a worker that serves must not fall with it
            log.exception("the slot `%s` cannot be replayed", slot)


async def _nothing_owed(tools: AttemptTools) -> None:
    journal = tools.journal
    while tools.budget.owed or journal.shipped_sequence < journal.shippable_sequence:
        await asyncio.sleep(POLL_S)
