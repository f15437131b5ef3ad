"""`AttemptSummary` and its proto."""

from collections.abc import Mapping
from typing import Literal, get_args

from harmost.common.v1 import attempt_pb2
from harmost.core.audit.rows import AttemptOutcome, AttemptSummary
from harmost.core.providers.codec import ProviderErrorKind
from harmost.services.convert.enums import literal
from harmost.services.convert.forms import form_of
from harmost.services.convert.times import time_from_proto
from harmost.services.convert.usage import USAGE, usage_from_proto

__all__ = ["ATTEMPT", "OUTCOMES", "attempt_from_proto", "attempt_to_proto"]

OUTCOMES: Mapping[AttemptOutcome, "attempt_pb2.AttemptOutcome.ValueType"] = {
    "completed": attempt_pb2.ATTEMPT_OUTCOME_COMPLETED,
    "connect_failed": attempt_pb2.ATTEMPT_OUTCOME_CONNECT_FAILED,
    "throttled": attempt_pb2.ATTEMPT_OUTCOME_THROTTLED,
    "provider_error": attempt_pb2.ATTEMPT_OUTCOME_PROVIDER_ERROR,
    "rejected": attempt_pb2.ATTEMPT_OUTCOME_REJECTED,
    "broken": attempt_pb2.ATTEMPT_OUTCOME_BROKEN,
    "stalled": attempt_pb2.ATTEMPT_OUTCOME_STALLED,
    "cancelled": attempt_pb2.ATTEMPT_OUTCOME_CANCELLED,
    "deadline": attempt_pb2.ATTEMPT_OUTCOME_DEADLINE,
    "budget_cut": attempt_pb2.ATTEMPT_OUTCOME_BUDGET_CUT,
    "not_admitted": attempt_pb2.ATTEMPT_OUTCOME_NOT_ADMITTED,
    "interrupted": attempt_pb2.ATTEMPT_OUTCOME_INTERRUPTED,
}
_OUTCOME_NAMES: Mapping[int, AttemptOutcome] = {number: name for name, number in OUTCOMES.items()}

_KINDS: Mapping[str, ProviderErrorKind] = {kind: kind for kind in get_args(ProviderErrorKind)}

ATTEMPT = form_of(
    attempt_pb2.Attempt,
    AttemptSummary,
    names={"started_at": "started_at_ns"},
    how={"outcome": OUTCOMES, "usage": USAGE},
)


def _kind(name: str) -> ProviderErrorKind | Literal[""]:
    """Of a Router that knows more of them: it failed, and no more is said."""
    return _KINDS.get(name) or ("provider_error" if name else "")


def attempt_to_proto(attempt: AttemptSummary) -> attempt_pb2.Attempt:
    """`attempt` for the wire."""
    return attempt_pb2.Attempt.FromString(ATTEMPT.write(attempt))


def attempt_from_proto(attempt: attempt_pb2.Attempt, *, field: str = "attempt") -> AttemptSummary:
    """`attempt` in the domain; `field` is its path, for errors."""
    return AttemptSummary(
        attempt_id=attempt.attempt_id,
        model=attempt.model,
        provider=attempt.provider,
        outcome=literal(_OUTCOME_NAMES, attempt.outcome, field=f"{field}.outcome"),
        started_at_ns=time_from_proto(attempt.started_at),
        error=attempt.error,
        usage=usage_from_proto(attempt.usage),
        cost_usd_nanos=attempt.cost_usd_nanos,
        first_token_ns=attempt.first_token_ns,
        total_ns=attempt.total_ns,
        step_index=attempt.step_index,
        held_usd_nanos=attempt.held_usd_nanos,
        provider_response_id=attempt.provider_response_id,
        price_version=attempt.price_version,
        vendor_model_id=attempt.vendor_model_id,
        finish_reason=attempt.finish_reason,
        output_tokens_max=attempt.output_tokens_max,
        region=attempt.region,
        estimated_input_tokens=attempt.estimated_input_tokens,
        error_kind=_kind(attempt.error_kind),
    )
