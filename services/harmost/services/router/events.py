"""What happens during a mission beside its tokens. convert.py turns it into the wire's form.

Tokens are no events: core/relay makes of them the bytes that are sent.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from harmost.core.audit.rows import AttemptOutcome, RecordSummary
from harmost.core.chat import FinishReason
from harmost.core.policy.decision import Decision

__all__ = [
    "Finished",
    "Hop",
    "MissionEvent",
    "Started",
    "StepFinished",
    "StepStarted",
]


class Started(msgspec.Struct, frozen=True):
    """The call is admitted and decided."""

    record_id: str
    tenant: str
    decision: Decision


class StepStarted(msgspec.Struct, frozen=True):
    """A step's first attempt begins."""

    step_index: int
    step: str
    model: str
    attempt_id: str


class Hop(msgspec.Struct, frozen=True):
    """The exchange moved to another model."""

    step_index: int
    from_attempt_id: str
    from_model: str
    to_attempt_id: str
    to_model: str
    cause: AttemptOutcome
    error: str


class StepFinished(msgspec.Struct, frozen=True):
    """A step ended, or was left out."""

    step_index: int
    step: str
    skipped: bool = False
    model: str = ""
    output: Mapping[str, Any] | None = None
    finish_reason: FinishReason | None = None


class Finished(msgspec.Struct, frozen=True):
    """The mission ended; the record is written."""

    record: RecordSummary
    finish_reason: FinishReason
    model: str
    provider: str
    warnings: tuple[str, ...]
    price_unknown: bool


MissionEvent: TypeAlias = Started | StepStarted | Hop | StepFinished | Finished
