"""What does a journal row cost the Router's loop, and how soon is it on the disk?

Back of the envelope: a row is encoded (1 µs), checksummed (0.1 µs), folded (0.3 µs) and joined to a
write that many rows share: 3 to 5 µs. A synced row waits for the disk's own sync, some milliseconds,
shared by all that wait.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from _result import emit

from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptOpened,
    AttemptSummary,
    MissionOpened,
    MissionRecorded,
    RecordSummary,
    Row,
    SettleAcked,
)
from harmost.core.policy.decision import Decision
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import RECORD
from harmost.services.journal.journal import Journal

CALLS_AT_ONCE = 20
TURNS = 500
SYNCS = 100


WHO = {"tenant": "acme/retail/support", "profile": "support-escalation"}
NOW_NS = 1_800_000_000_000_000_000


def opened(number: int) -> MissionOpened:
    """The first row of a call."""
    return MissionOpened(
        record_id=f"rec_{number:026d}",
        principal="shop",
        router_id="router-1",
        started_at_ns=NOW_NS,
        labels={"channel": "chat"},
        **WHO,
    )


def record_of(number: int) -> RecordSummary:
    """What is told of a call."""
    summary = AttemptSummary(
        attempt_id=f"att_{number:026d}",
        model="claude-sonnet",
        provider="anthropic",
        outcome="completed",
        started_at_ns=NOW_NS,
        usage=TokenUsage(input_tokens=1_200, output_tokens=300),
        cost_usd_nanos=8_100_000,
        first_token_ns=400_000_000,
        total_ns=5_000_000_000,
        held_usd_nanos=20_000_000,
    )
    return RecordSummary(
        record_id=f"rec_{number:026d}",
        principal="shop",
        router_id="router-1",
        status="completed",
        started_at_ns=NOW_NS,
        decision=Decision(effect="allow", candidates=("claude-sonnet", "claude-haiku")),
        attempts=(summary,),
        usage=summary.usage,
        cost_usd_nanos=summary.cost_usd_nanos,
        **WHO,
    )


def recorded(record: RecordSummary) -> MissionRecorded:
    """The last row of a call."""
    return MissionRecorded(record_id=record.record_id, record=RECORD.write(record))


def call(number: int) -> list[Row]:
    """The five rows of one call, of a usual size."""
    record = record_of(number)
    (summary,) = record.attempts
    return [
        opened(number),
        AttemptOpened(
            record_id=record.record_id,
            attempt_id=summary.attempt_id,
            model="claude-sonnet",
            provider="anthropic",
            vendor_model_id="claude-sonnet-4",
            started_at_ns=NOW_NS,
            held_usd_nanos=20_000_000,
            **WHO,
        ),
        AttemptClosed(record_id=record.record_id, attempt=summary, resolution="settle"),
        SettleAcked(attempt_id=summary.attempt_id),
        recorded(record),
    ]


async def recording(directory: Path) -> None:
    """Both rows of an exchange's record, from its parts to the write: what recording costs a call."""
    turns_us: list[float] = []
    async with (journal := Journal(directory, "bench")).running():
        for turn in range(TURNS):
            numbers = range(turn * CALLS_AT_ONCE, (turn + 1) * CALLS_AT_ONCE)
            start_ns = time.thread_time_ns()
            for number in numbers:
                journal.append(opened(number))
            for number in numbers:
                journal.append(recorded(record_of(number)))
            await journal.flush()
            turns_us.append((time.thread_time_ns() - start_ns) / CALLS_AT_ONCE / 1_000)
    exchanges = TURNS * CALLS_AT_ONCE
    emit("telemetry.record.us", statistics.median(turns_us), "us", exchanges)
    emit("telemetry.record.p99_us", statistics.quantiles(turns_us, n=100)[98], "us", exchanges)


async def appending(directory: Path) -> None:
    """CPU of append and flush for each row, the loop's share included."""
    turns_us: list[float] = []
    async with (journal := Journal(directory, "bench")).running():
        for turn in range(TURNS):
            rows = [row for n in range(CALLS_AT_ONCE) for row in call(turn * CALLS_AT_ONCE + n)]
            start_ns = time.thread_time_ns()
            for row in rows:
                journal.append(row)
            await journal.flush()
            turns_us.append((time.thread_time_ns() - start_ns) / len(rows) / 1_000)
    rows_count = TURNS * CALLS_AT_ONCE * 5
    emit("journal.append.us", statistics.median(turns_us), "us", rows_count)
    emit("journal.append.p99_us", statistics.quantiles(turns_us, n=100)[98], "us", rows_count)


async def one_row_turns(directory: Path) -> None:
    """The same where each loop turn has one row only: no write is shared."""
    taken_us: list[float] = []
    async with (journal := Journal(directory, "bench")).running():
        for turn in range(TURNS):
            row = call(turn)[0]
            start_ns = time.thread_time_ns()
            journal.append(row)
            await journal.flush()
            taken_us.append((time.thread_time_ns() - start_ns) / 1_000)
    emit("journal.append_alone.us", statistics.median(taken_us), "us", TURNS)


async def syncing(directory: Path) -> None:
    """From append to the disk, for CALLS_AT_ONCE that wait together."""
    taken_ms: list[float] = []
    async with (journal := Journal(directory, "bench")).running():
        for turn in range(SYNCS):
            start_ns = time.perf_counter_ns()
            for n in range(CALLS_AT_ONCE):
                journal.append(call(turn * CALLS_AT_ONCE + n)[0])
            await asyncio.gather(*(journal.sync() for _ in range(CALLS_AT_ONCE)))
            taken_ms.append((time.perf_counter_ns() - start_ns) / 1_000_000)
    emit("journal.sync.ms", statistics.median(taken_ms), "ms", SYNCS)


def recovering(directory: Path) -> None:
    """Opening the journal that `appending` left, for each row of it."""
    start_ns = time.perf_counter_ns()
    journal = Journal(directory, "bench")
    rows = journal.recovered.next_sequence - 1
    emit("journal.recover.us", (time.perf_counter_ns() - start_ns) / rows / 1_000, "us", rows)
    journal.close()


def main() -> None:
    """Measure in a directory of its own."""
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        asyncio.run(recording(directory / "records"))
        asyncio.run(appending(directory / "shared"))
        recovering(directory / "shared")
        asyncio.run(one_row_turns(directory / "alone"))
        asyncio.run(syncing(directory / "sync"))


if __name__ == "__main__":
    main()
