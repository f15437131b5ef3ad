"""Between Telemetry's protos and its store: a record becomes columns, checked; a token a position."""

import base64
import binascii
from typing import NamedTuple

from harmost.core.audit.rows import AttemptSummary, Outcome, RecordSummary
from harmost.core.errors import InvalidInput, Violation
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.tenants import LEVEL_RULE, is_path
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import outcome_report_from_proto, record_from_proto
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Entry", "Position", "entry_of", "outcome_of", "position_of", "token_of"]

TIME_NS_MAX = 2**63 - 1  # what SQLite keeps, and OTLP takes

Column = str | int | bytes


class Entry(NamedTuple):
    """A record as the store keeps it: columns of each table, without the position."""

    record: telemetry_pb2.Record
    summary: RecordSummary
    whole: bytes  # the record, serialized
    started_ns: int
    columns: tuple[Column, ...]
    attempts: tuple[tuple[Column, ...], ...]
    labels: tuple[tuple[str, str], ...]
    vectors: tuple[tuple[Column, ...], ...]


class Position(NamedTuple):
    """Where a page ended."""

    started_ns: int
    position: int


def entry_of(record: telemetry_pb2.Record, *, field: str) -> Entry:
    """`record` in columns. Raises InvalidInput naming the field, below `field`, that is malformed.

    Outcomes and fact vectors are kept apart, so they are not in the blob.
    """
    summary = record_from_proto(record, field=field)
    _check(summary, field)
    record.ClearField("outcomes")
    record.ClearField("fact_vectors")
    columns: tuple[Column, ...] = (
        summary.record_id,
        summary.tenant,
        summary.profile,
        summary.agent_id,
        summary.end_user_id,
        summary.status,
        summary.started_at_ns,
        sum(map(_sent, summary.attempts)),
        *_usage(summary.usage),
        summary.cost_usd_nanos,
    )
    attempts: tuple[tuple[Column, ...], ...] = tuple(
        (number, attempt.model, _sent(attempt), *_usage(attempt.usage), attempt.cost_usd_nanos)
        for number, attempt in enumerate(summary.attempts)
    )
    vectors: tuple[tuple[Column, ...], ...] = tuple(
        (summary.record_id, summary.tenant, summary.profile, summary.started_at_ns, vector)
        for vector in summary.fact_vectors
    )
    return Entry(
        record,
        summary,
        record.SerializeToString(),
        summary.started_at_ns,
        columns,
        attempts,
        tuple(summary.labels.items()),
        vectors,
    )


def outcome_of(report: telemetry_pb2.OutcomeReport, *, field: str) -> Outcome:
    """`report` in the domain, checked as a record is."""
    outcome = outcome_report_from_proto(report)
    for name, value in (("name", outcome.name), ("reported_at", outcome.reported_at_ns)):
        if not value:
            raise _malformed(f"{field}.{name}", "is missing: set it")
    return outcome


def token_of(position: Position) -> str:
    """`position` as a page token."""
    return base64.urlsafe_b64encode(f"{position.started_ns}:{position.position}".encode()).decode()


def position_of(token: str) -> Position | None:
    """The position that `token` stands for; None for the empty one."""
    if not token:
        return None
    try:
        started_ns, _, position = base64.urlsafe_b64decode(token).decode("ascii").partition(":")
        found = Position(int(started_ns), int(position))
    except (binascii.Error, ValueError):
        found = Position(-1, -1)
    if not (0 <= found.started_ns < 2**63 and 0 <= found.position < 2**63):
        raise _malformed("page_token", "is not a `next_page_token` of this service")
    return found


def _check(record: RecordSummary, field: str) -> None:
    if not record.record_id:
        raise _malformed(f"{field}.record_id", "is missing: set it")
    if not is_path(record.tenant):
        raise _malformed(f"{field}.tenant", f"is `{record.tenant}`, not a tenant: {LEVEL_RULE}")
    if record.started_at_ns <= 0:
        raise _malformed(f"{field}.started_at", "is missing or before 1970: set it")
    _check_amounts(record, field)
    for index, attempt in enumerate(record.attempts):
        where = f"{field}.attempts[{index}]"
        if not attempt.attempt_id:
            raise _malformed(f"{where}.attempt_id", "is missing: set it")
        _check_amounts(attempt, where)
    if len({attempt.attempt_id for attempt in record.attempts}) != len(record.attempts):
        raise _malformed(f"{field}.attempts", "name one attempt twice")
    # The sums of reports come from either: they must be the same, to the nanodollar.
    cost_usd_nanos = sum(attempt.cost_usd_nanos for attempt in record.attempts)
    if record.cost_usd_nanos != cost_usd_nanos:
        raise _malformed(
            f"{field}.cost_usd_nanos",
            f"is {record.cost_usd_nanos}, but its attempts cost {cost_usd_nanos}",
        )
    usage = sum((attempt.usage for attempt in record.attempts), TokenUsage())
    if _usage(record.usage)[:-1] != _usage(usage)[:-1]:
        raise _malformed(f"{field}.usage", "is not the sum of its attempts")


def _check_amounts(part: RecordSummary | AttemptSummary, field: str) -> None:
    if not 0 <= part.cost_usd_nanos <= USD_NANOS_MAX:
        raise _malformed(
            f"{field}.cost_usd_nanos", f"is {part.cost_usd_nanos}: 0 to {USD_NANOS_MAX} is allowed"
        )
    if part.started_at_ns + part.total_ns > TIME_NS_MAX:
        raise _malformed(f"{field}.started_at", "is beyond the year 2261: set the Router's clock")
    for name in ("total_ns", "first_token_ns"):
        if getattr(part, name) < 0:
            raise _malformed(f"{field}.{name}", f"is {getattr(part, name)}: it cannot be negative")
    if min(_usage(part.usage)) < 0:
        raise _malformed(f"{field}.usage", "has a negative count of tokens")


def _usage(usage: TokenUsage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_5m_input_tokens,
        usage.cache_write_1h_input_tokens,
        usage.output_tokens,
        usage.reasoning_output_tokens,
        int(usage.exact),
    )


def _sent(attempt: AttemptSummary) -> int:
    return int(attempt.outcome != "not_admitted")


def _malformed(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"`{field}` {what}", violations=[Violation(field, what)])
