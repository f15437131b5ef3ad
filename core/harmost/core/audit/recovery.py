"""What a journal still owes: folds rows into open missions and attempts, settlements and shipping.

Pure. The same fold runs while the Router lives, to know which rows are still needed, and over the
rows that are left after it died. Holds only what is open or owed.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptGrown,
    AttemptOpened,
    AttemptSummary,
    MissionClosed,
    MissionOpened,
    MissionRecorded,
    OutcomeReported,
    RecordSummary,
    Row,
    SettleAcked,
    SettlesAcked,
    Shipped,
)
from harmost.core.usage import TokenUsage

__all__ = ["OpenMission", "Owed", "Recovered", "Unsettled", "interrupted_record"]

_Value = TypeVar("_Value")


class OpenMission(NamedTuple):
    """A mission without an end, and those of its attempts that ended, in order."""

    opened: MissionOpened
    attempts: tuple[AttemptSummary, ...]


class Unsettled(NamedTuple):
    """An attempt that ended, with what was reserved for it; None where that row is gone."""

    closed: AttemptClosed
    opened: AttemptOpened | None


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal holds when it is opened, all in the order of the journal.

    `unsettled` attempts ended, but Budget has not acknowledged it. Records and outcomes after the
    row `shipped_sequence`, up to `shippable_sequence`, wait to be shipped.
    """

    open_missions: tuple[OpenMission, ...] = ()
    open_attempts: tuple[AttemptOpened, ...] = ()
    unsettled: tuple[Unsettled, ...] = ()
    shipped_sequence: int = 0
    shippable_sequence: int = 0
    next_sequence: int = 1


class _Mission:
    """An open mission, growing."""

    __slots__ = ("attempts", "opened", "sequence")

    def __init__(self, sequence: int, opened: MissionOpened) -> None:
        self.sequence = sequence
        self.opened = opened
        self.attempts: list[AttemptSummary] = []


class Owed:
    """The fold. Every call is O(1); dicts keep the order of the journal: the oldest stands first."""

    def __init__(self) -> None:
        self._missions: dict[str, _Mission] = {}
        self._attempts: dict[str, tuple[int, AttemptOpened]] = {}
        self._unsettled: dict[str, tuple[int, Unsettled]] = {}
        self.shippable_sequence = 0  # the last row that is a record or an outcome; 0: none
        self.shipped_sequence = 0  # Telemetry has all up to and with this row

    def apply(self, sequence: int, row: Row) -> None:
        """Take in `row`. A row about what is not known belongs to rows that are gone: ignored."""
        match row:
            case MissionOpened():
                self._missions[row.record_id] = _Mission(sequence, row)
            case AttemptOpened():
                self._attempts[row.attempt_id] = (sequence, row)
            case AttemptClosed():
                self._close_attempt(sequence, row)
            case MissionRecorded():
                self._missions.pop(row.record_id, None)
                self.shippable_sequence = sequence
            case AttemptGrown():
                self._grow_attempt(row)
            case SettleAcked():
                self._unsettled.pop(row.attempt_id, None)
            case SettlesAcked():
                for attempt_id in row.attempt_ids:
                    self._unsettled.pop(attempt_id, None)
            case MissionClosed():
                self._missions.pop(row.record.record_id, None)
                self.shippable_sequence = sequence
            case OutcomeReported():
                self.shippable_sequence = sequence
            case Shipped():
                self.shipped_sequence = max(self.shipped_sequence, row.sequence)

    def is_open(self, record_id: str) -> bool:
        """The mission is opened and not closed."""
        return record_id in self._missions

    def oldest_sequence(self) -> int | None:
        """The oldest row that is still needed; None: no row is. O(1), but O(unsettled) of those."""
        oldest = [sequence for sequence, _ in _first(self._attempts.values())]
        oldest += [min(since for since, _ in self._unsettled.values())] if self._unsettled else []
        oldest += [mission.sequence for mission in _first(self._missions.values())]
        if self.shippable_sequence > self.shipped_sequence:
            oldest.append(self.shipped_sequence + 1)
        return min(oldest, default=None)

    def recovered(self, *, next_sequence: int) -> Recovered:
        """What is open or owed now. O(what is)."""
        return Recovered(
            open_missions=tuple(
                OpenMission(mission.opened, tuple(mission.attempts))
                for mission in self._missions.values()
            ),
            open_attempts=tuple(row for _, row in self._attempts.values()),
            unsettled=tuple(row for _, row in self._unsettled.values()),
            shipped_sequence=self.shipped_sequence,
            shippable_sequence=self.shippable_sequence,
            next_sequence=next_sequence,
        )

    def _grow_attempt(self, row: AttemptGrown) -> None:
        since, opened = self._attempts.get(row.attempt_id, (0, None))
        if opened is not None:
            grown = msgspec.structs.replace(
                opened, held_usd_nanos=row.held_usd_nanos, held_tokens=row.held_tokens
            )
            self._attempts[row.attempt_id] = (since, grown)

    def _close_attempt(self, sequence: int, row: AttemptClosed) -> None:
        attempt_id = row.attempt.attempt_id
        since, opened = self._attempts.pop(attempt_id, (sequence, None))
        if row.resolution != "none":
            self._unsettled[attempt_id] = (since, Unsettled(row, opened))
        mission = self._missions.get(row.record_id)
        if mission is not None:
            mission.attempts.append(row.attempt)


def interrupted_record(opened: MissionOpened, attempts: Sequence[AttemptSummary]) -> RecordSummary:
    """The record of a mission that its Router did not live to end.

    `attempts` are all of it, those closed at recovery included. Its time is taken to the last end
    of an attempt that is known: how long the Router was dead is not the mission's.
    """
    ends = [attempt.started_at_ns + attempt.total_ns for attempt in attempts]
    firsts = [
        attempt.started_at_ns + attempt.first_token_ns
        for attempt in attempts
        if attempt.first_token_ns
    ]
    return RecordSummary(
        record_id=opened.record_id,
        tenant=opened.tenant,
        profile=opened.profile,
        principal=opened.principal,
        router_id=opened.router_id,
        status="interrupted",
        started_at_ns=opened.started_at_ns,
        reason="INTERRUPTED",
        agent_id=opened.agent_id,
        end_user_id=opened.end_user_id,
        labels=opened.labels,
        decision=opened.decision,
        traceparent=opened.traceparent,
        tracestate=opened.tracestate,
        streamed=opened.streamed,
        embeds=opened.embeds,
        audit_required=opened.audit_required,
        snapshot_digest=opened.snapshot_digest,
        attempts=tuple(attempts),
        usage=sum((attempt.usage for attempt in attempts), TokenUsage()),
        cost_usd_nanos=sum(attempt.cost_usd_nanos for attempt in attempts),
        total_ns=max(0, max(ends, default=opened.started_at_ns) - opened.started_at_ns),
        first_token_ns=max(0, min(firsts, default=opened.started_at_ns) - opened.started_at_ns),
    )


def _first(values: Iterable[_Value]) -> list[_Value]:
    return list(islice(values, 1))
