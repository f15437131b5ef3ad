"""After a kill: what the journal still owes is settled, and its open missions become `interrupted`.

Runs before the Router serves. Evidence comes first: the provider's own books where it keeps any that
can be asked; else the full hold is settled and marked as estimated, since money is never freed unseen.
"""

import asyncio
import logging
from collections.abc import Sequence

from harmost.core.audit.recovery import Unsettled, interrupted_record
from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptOpened,
    AttemptSummary,
    MissionRecorded,
)
from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import cost_usd_nanos
from harmost.core.errors import NotFound
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import RECORD
from harmost.services.providers.endpoints import Endpoints
from harmost.services.router.attempt import AttemptTools
from harmost.services.upstream.upstream import Billed, Unavailable

__all__ = ["recover"]

log = logging.getLogger(__name__)

LOOKUPS_MAX = 32  # at once: half of what HTTP/2 servers usually take on one connection


async def recover(tools: AttemptTools, endpoints: Endpoints) -> None:
    """Close every open attempt and mission of the journal; pay what is owed."""
    found = tools.journal.recovered
    if not (found.unsettled or found.open_attempts or found.open_missions):
        tools.budget.recover(())
        return
    log.warning(
        "recovering: %d attempts and %d missions were open, %d settlements owed",
        len(found.open_attempts),
        len(found.open_missions),
        len(found.unsettled),
    )
    closed = await _close_all(found.open_attempts, tools, endpoints)
    for mission in found.open_missions:
        opened = mission.opened
        interrupted = (
            one.closed.attempt for one in closed if one.closed.record_id == opened.record_id
        )
        attempts = (*mission.attempts, *interrupted)
        record = RECORD.write(interrupted_record(opened, attempts))
        tools.journal.append(MissionRecorded(record_id=opened.record_id, record=record))
    await tools.journal.sync()
    tools.budget.recover((*found.unsettled, *closed))


async def _close_all(
    rows: Sequence[AttemptOpened], tools: AttemptTools, endpoints: Endpoints
) -> list[Unsettled]:
    """In the order of `rows`; LOOKUPS_MAX providers' books are asked at a time, so one that is slow,
    or does not answer, holds up the start of a Router once and not for each attempt."""
    asking = asyncio.Semaphore(LOOKUPS_MAX)

    async def asked(row: AttemptOpened) -> TokenUsage | None:
        async with asking:
            return await _usage(row, tools, endpoints)

    usages = await asyncio.gather(*(asked(row) for row in rows))
    return [
        Unsettled(_close(row, usage, tools), row) for row, usage in zip(rows, usages, strict=True)
    ]


def _close(row: AttemptOpened, usage: TokenUsage | None, tools: AttemptTools) -> AttemptClosed:
    amount = None if usage is None else _amount(row, usage)
    summary = AttemptSummary(
        attempt_id=row.attempt_id,
        model=row.model,
        provider=row.provider,
        outcome="interrupted",
        error="the Router died while this ran",
        usage=usage or TokenUsage(),
        cost_usd_nanos=amount.usd_nanos if amount is not None else 0,
        started_at_ns=row.started_at_ns,
        step_index=row.step_index,
        held_usd_nanos=row.held_usd_nanos,
        price_version=row.price.version if row.price is not None else "",
        vendor_model_id=row.vendor_model_id,
        region=row.region,
    )
    closed = AttemptClosed(
        record_id=row.record_id,
        attempt=summary,
        resolution="void" if amount is None else "settle",
    )
    tools.journal.append(closed)
    return closed


async def _usage(
    row: AttemptOpened, tools: AttemptTools, endpoints: Endpoints
) -> TokenUsage | None:
    """What was billed; None: nothing. Without evidence, all that was held."""
    try:
        endpoint = endpoints.get(row.provider, row.region)
    except NotFound:
        billed: Billed | Unavailable | None = Unavailable(message="the provider is gone")
    else:
        billed = await tools.upstream.usage_lookup(endpoint, row.attempt_id)
    if isinstance(billed, Billed):
        return billed.usage
    if billed is None:
        return None
    return TokenUsage(
        input_tokens=row.input_tokens_max,
        output_tokens=max(row.held_tokens - row.input_tokens_max, 0),
        exact=False,
    )


def _amount(row: AttemptOpened, usage: TokenUsage) -> Amount:
    if row.price is None:
        return Amount(0, usage.total_tokens, price_unknown=True)
    if not usage.exact:
        return Amount(row.held_usd_nanos, usage.total_tokens)
    return Amount(cost_usd_nanos(row.price, usage), usage.total_tokens)
