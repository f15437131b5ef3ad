"""How a call and an attempt ended, in the words of gRPC and of the conventions."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import get_args

from harmost.common.v1 import attempt_pb2
from harmost.core import errors
from harmost.core.providers.codec import ProviderErrorKind
from harmost.services.interceptors.errors import STATUS_CODES
from harmost.telemetry.v1 import telemetry_pb2

__all__ = [
    "OUTCOME_NAMES",
    "SERVER_ERRORS",
    "STATUS_NAMES",
    "error_type",
    "grpc_status",
    "hops_of",
    "is_remarkable",
    "is_sent",
    "moves",
    "operation",
]

OUTCOME_NAMES: Mapping[int, str] = {
    number: name.removeprefix("ATTEMPT_OUTCOME_").lower()
    for name, number in attempt_pb2.AttemptOutcome.items()
}
STATUS_NAMES: Mapping[int, str] = {
    number: name.removeprefix("RECORD_STATUS_").lower()
    for name, number in telemetry_pb2.RecordStatus.items()
}

# A server's own fault, by the RPC conventions; the rest is its caller's, or its caller's wish.
SERVER_ERRORS = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)

_BY_REASON: Mapping[str, str] = {
    **{kind.reason: code.name for kind, code in reversed(STATUS_CODES.items())},
    "CANCELLED": "CANCELLED",
    "INTERRUPTED": "UNAVAILABLE",  # what a caller sees of a Router that dies
}
_BY_STATUS: Mapping[int, str] = {
    telemetry_pb2.RECORD_STATUS_COMPLETED: "OK",
    telemetry_pb2.RECORD_STATUS_POLICY_DENIED: STATUS_CODES[errors.PolicyDenied].name,
    telemetry_pb2.RECORD_STATUS_BUDGET_DENIED: STATUS_CODES[errors.BudgetExhausted].name,
    telemetry_pb2.RECORD_STATUS_CANCELLED: "CANCELLED",
    telemetry_pb2.RECORD_STATUS_INTERRUPTED: "UNAVAILABLE",
    telemetry_pb2.RECORD_STATUS_KILLED: STATUS_CODES[errors.Killed].name,
}
# Ends that are nobody's error: of an attempt that was cut at its budget the answer is whole so far.
_NO_ERROR = frozenset(
    (
        attempt_pb2.ATTEMPT_OUTCOME_UNSPECIFIED,
        attempt_pb2.ATTEMPT_OUTCOME_COMPLETED,
        attempt_pb2.ATTEMPT_OUTCOME_BUDGET_CUT,
    )
)


_KINDS = frozenset(get_args(ProviderErrorKind))


def grpc_status(record: telemetry_pb2.Record) -> str:
    """The status that the caller got, by name."""
    if record.status == telemetry_pb2.RECORD_STATUS_COMPLETED:
        return "OK"
    return _BY_REASON.get(record.reason) or _BY_STATUS.get(record.status, "UNKNOWN")


def error_type(of: telemetry_pb2.Record | attempt_pb2.Attempt) -> str:
    """The stable reason of a record that did not complete; of such an attempt how its provider failed,
    or its outcome; else ""."""
    if isinstance(of, attempt_pb2.Attempt):
        if of.outcome in _NO_ERROR:
            return ""
        # Only words that are known: each is a series of its own.
        return of.error_kind if of.error_kind in _KINDS else OUTCOME_NAMES[of.outcome]
    if of.status == telemetry_pb2.RECORD_STATUS_COMPLETED:
        return ""
    return of.reason or STATUS_NAMES[of.status].upper()


def operation(record: telemetry_pb2.Record) -> str:
    """What models were asked for, in the words of the GenAI conventions."""
    return "embeddings" if record.embeds else "chat"


def is_sent(attempt: attempt_pb2.Attempt) -> bool:
    """Whether a provider heard of it."""
    return attempt.outcome != attempt_pb2.ATTEMPT_OUTCOME_NOT_ADMITTED


def moves(
    record: telemetry_pb2.Record,
) -> Iterator[tuple[attempt_pb2.Attempt, attempt_pb2.Attempt]]:
    """Each hop: the attempt that failed, and the next of the same step."""
    sent = [attempt for attempt in record.attempts if is_sent(attempt)]
    for one, other in pairwise(sent):
        if one.step_index == other.step_index:
            yield one, other


def hops_of(record: telemetry_pb2.Record) -> int:
    """How often another model was tried."""
    return sum(1 for _ in moves(record))


def is_remarkable(record: telemetry_pb2.Record) -> bool:
    """An operator would look for it: it did not complete, or not with the first model that was tried."""
    if record.status != telemetry_pb2.RECORD_STATUS_COMPLETED:
        return True
    return len(record.attempts) > 1 and hops_of(record) > 0
