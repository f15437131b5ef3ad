"""Rows of calls, and a journal that runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import RECORD
from harmost.services.journal.journal import Journal


def rows_of(name: str, *, padding: str = "") -> list[Row]:
    """Opened, attempt opened, attempt closed, settled, closed."""
    summary = AttemptSummary(
        attempt_id=f"{name}-0",
        model="m",
        provider="p",
        outcome="completed",
        started_at_ns=1_800_000_000 * 10**9,
        usage=TokenUsage(input_tokens=3, output_tokens=4),
        cost_usd_nanos=40,
    )
    record = RecordSummary(
        record_id=name,
        tenant="acme",
        profile="support",
        principal="app",
        router_id="r1",
        status="completed",
        started_at_ns=1_800_000_000 * 10**9,
        attempts=(summary,),
        usage=summary.usage,
        cost_usd_nanos=40,
    )
    return [
        MissionOpened(
            record_id=name,
            tenant="acme",
            profile="support",
            principal="app",
            router_id="r1",
            started_at_ns=1_800_000_000 * 10**9,
            labels={"padding": padding},
        ),
        AttemptOpened(
            record_id=name,
            attempt_id=f"{name}-0",
            model="m",
            provider="p",
            vendor_model_id="m-1",
            started_at_ns=1,
            tenant="acme",
            profile="support",
        ),
        AttemptClosed(record_id=name, attempt=summary, resolution="settle"),
        SettleAcked(attempt_id=f"{name}-0"),
        MissionRecorded(record_id=name, record=RECORD.write(record)),
    ]


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    return rows_of


@pytest.fixture
def all_rows() -> Callable[[Path], list[Row]]:
    """Every row that a closed journal in the directory holds."""

    def read(directory: Path) -> list[Row]:
        journal = Journal(directory, "reader")
        try:
            reader, found = journal.reader(after=0), []
            while reader.behind:
                found += [frame.row for frame in reader.read(64 * 1024)]
            return found
        finally:
            journal.close()

    return read
