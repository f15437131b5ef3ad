"""Rows of one call, as a Router would write them."""

import pytest

from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptOpened,
    AttemptSummary,
    MissionOpened,
    MissionRecorded,
    Row,
    SettleAcked,
    Shipped,
)
from harmost.core.usage import TokenUsage


class Call:
    """The rows of call `name`."""

    def __init__(self, name: str) -> None:
        self.opened = MissionOpened(
            record_id=name,
            tenant="acme",
            profile="support",
            principal="app",
            router_id="r1",
            started_at_ns=1_000,
            labels={"team": "a"},
        )
        self.attempt_opened = AttemptOpened(
            record_id=name,
            attempt_id=f"{name}-0",
            model="m",
            provider="p",
            vendor_model_id="m-1",
            started_at_ns=1_100,
            tenant="acme",
            profile="support",
            held_usd_nanos=50,
        )
        self.summary = AttemptSummary(
            attempt_id=f"{name}-0",
            model="m",
            provider="p",
            outcome="completed",
            started_at_ns=1_100,
            usage=TokenUsage(input_tokens=3, output_tokens=4),
            cost_usd_nanos=40,
            first_token_ns=50,
            total_ns=200,
        )
        self.attempt_closed = AttemptClosed(
            record_id=name, attempt=self.summary, resolution="settle"
        )
        self.settled = SettleAcked(attempt_id=f"{name}-0")
        self.closed = MissionRecorded(record_id=name, record=b"what is shipped")

    def rows(self) -> list[Row]:
        """In the order in which they are written."""
        return [
            self.opened,
            self.attempt_opened,
            self.attempt_closed,
            self.settled,
            self.closed,
            Shipped(sequence=5),
        ]


@pytest.fixture
def call() -> type[Call]:
    return Call
