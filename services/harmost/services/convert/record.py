"""`RecordSummary` and `Outcome`, and their protos."""

from collections.abc import Mapping

from harmost.core.audit.rows import MissionStatus, Outcome, RecordSummary
from harmost.services.convert.attempt import ATTEMPT, attempt_from_proto
from harmost.services.convert.decision import decision_from_proto, decision_to_bytes
from harmost.services.convert.enums import literal
from harmost.services.convert.forms import form_of
from harmost.services.convert.times import time_from_proto
from harmost.services.convert.usage import USAGE, usage_from_proto
from harmost.telemetry.v1 import telemetry_pb2

__all__ = [
    "OUTCOME",
    "RECORD",
    "STATUS_NAMES",
    "outcome_report_from_proto",
    "outcome_report_to_proto",
    "record_from_proto",
    "record_to_proto",
]

_STATUSES: Mapping[MissionStatus, "telemetry_pb2.RecordStatus.ValueType"] = {
    "completed": telemetry_pb2.RECORD_STATUS_COMPLETED,
    "policy_denied": telemetry_pb2.RECORD_STATUS_POLICY_DENIED,
    "budget_denied": telemetry_pb2.RECORD_STATUS_BUDGET_DENIED,
    "failed": telemetry_pb2.RECORD_STATUS_FAILED,
    "cancelled": telemetry_pb2.RECORD_STATUS_CANCELLED,
    "interrupted": telemetry_pb2.RECORD_STATUS_INTERRUPTED,
    "killed": telemetry_pb2.RECORD_STATUS_KILLED,
}
STATUS_NAMES: Mapping[int, MissionStatus] = {number: name for name, number in _STATUSES.items()}


OUTCOME = form_of(telemetry_pb2.OutcomeReport, Outcome, names={"reported_at": "reported_at_ns"})
RECORD = form_of(
    telemetry_pb2.Record,
    RecordSummary,
    names={"started_at": "started_at_ns"},
    how={
        "status": _STATUSES,
        "decision": decision_to_bytes,
        "attempts": ATTEMPT,
        "usage": USAGE,
        "outcomes": OUTCOME,
    },
)


def record_to_proto(record: RecordSummary) -> telemetry_pb2.Record:
    """`record` for the wire."""
    return telemetry_pb2.Record.FromString(RECORD.write(record))


def record_from_proto(record: telemetry_pb2.Record, *, field: str = "record") -> RecordSummary:
    """`record` in the domain; `field` is its path, for errors."""
    return RecordSummary(
        record_id=record.record_id,
        tenant=record.tenant,
        profile=record.profile,
        principal=record.principal,
        router_id=record.router_id,
        status=literal(STATUS_NAMES, record.status, field=f"{field}.status"),
        started_at_ns=time_from_proto(record.started_at),
        reason=record.reason,
        agent_id=record.agent_id,
        end_user_id=record.end_user_id,
        labels=dict(record.labels),
        decision=(
            decision_from_proto(record.decision, field=f"{field}.decision")
            if record.HasField("decision")
            else None
        ),
        attempts=tuple(
            attempt_from_proto(attempt, field=f"{field}.attempts[{index}]")
            for index, attempt in enumerate(record.attempts)
        ),
        usage=usage_from_proto(record.usage),
        cost_usd_nanos=record.cost_usd_nanos,
        total_ns=record.total_ns,
        first_token_ns=record.first_token_ns,
        added_ns=record.added_ns,
        steps=tuple(record.steps),
        journal_sequence=record.journal_sequence,
        outcomes=tuple(outcome_report_from_proto(outcome) for outcome in record.outcomes),
        fact_vectors=tuple(record.fact_vectors),
        traceparent=record.traceparent,
        tracestate=record.tracestate,
        streamed=record.streamed,
        embeds=record.embeds,
        audit_required=record.audit_required,
        snapshot_digest=record.snapshot_digest,
        decided_ns=record.decided_ns,
    )


def outcome_report_to_proto(outcome: Outcome) -> telemetry_pb2.OutcomeReport:
    """`outcome` for the wire."""
    return telemetry_pb2.OutcomeReport.FromString(OUTCOME.write(outcome))


def outcome_report_from_proto(outcome: telemetry_pb2.OutcomeReport) -> Outcome:
    """`outcome` in the domain."""
    return Outcome(
        name=outcome.name,
        score_permille=outcome.score_permille,
        reported_at_ns=time_from_proto(outcome.reported_at),
        tenant=outcome.tenant,
    )
