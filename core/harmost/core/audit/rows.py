"""The rows of a Router's journal: what it must still know after it died. Says nothing about files.

A mission is opened, its attempts are opened and closed, settlements are acknowledged, the mission
is closed with its record, and the record is shipped. Times are Unix nanoseconds, durations
nanoseconds, money nanodollars.

Rows are stored as arrays, so a field may only be added at the end, with a default; a tag is never
used for another row.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from harmost.core.budget.price import ModelPrice
from harmost.core.policy.decision import Decision
from harmost.core.providers.codec import ProviderErrorKind
from harmost.core.usage import TokenUsage

__all__ = [
    "AttemptClosed",
    "AttemptGrown",
    "AttemptOpened",
    "AttemptOutcome",
    "AttemptSummary",
    "MissionClosed",
    "MissionOpened",
    "MissionRecorded",
    "MissionStatus",
    "Outcome",
    "OutcomeReported",
    "RecordSummary",
    "Resolution",
    "Row",
    "SettleAcked",
    "SettlesAcked",
    "Shipped",
]

MissionStatus = Literal[
    "completed",
    "policy_denied",
    "budget_denied",
    "failed",
    "cancelled",
    "interrupted",
    "killed",
]

AttemptOutcome = Literal[
    "completed",
    "connect_failed",
    "throttled",
    "provider_error",
    "rejected",
    "broken",
    "stalled",
    "cancelled",
    "deadline",
    "budget_cut",
    "not_admitted",
    "interrupted",
]

# What Budget must be told about a closed attempt; "none" where it holds nothing.
Resolution = Literal["settle", "void", "none"]


class _Stored(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A part of a row."""


class AttemptSummary(_Stored, frozen=True):
    """One attempt as it ended. `started_at_ns` is when it was sent; 0 in `first_token_ns`: no token.

    `vendor_model_id` and `output_tokens_max` are what the provider was asked for; `finish_reason` is
    one of core/chat.py, "" where the answer has no end. `region` is where it was called, as its
    model's or provider's document says. `estimated_input_tokens` is what was expected before it was
    sent; 0: nothing was. `error_kind` says which of the provider's failures `error` is.
    """

    attempt_id: str
    model: str
    provider: str
    outcome: AttemptOutcome
    started_at_ns: int
    error: str = ""
    usage: TokenUsage = TokenUsage()
    cost_usd_nanos: int = 0
    first_token_ns: int = 0
    total_ns: int = 0
    step_index: int = 0
    held_usd_nanos: int = 0
    provider_response_id: str = ""
    price_version: str = ""
    region: str = ""
    vendor_model_id: str = ""
    finish_reason: str = ""
    output_tokens_max: int = 0
    estimated_input_tokens: int = 0
    error_kind: ProviderErrorKind | Literal[""] = ""


class Outcome(_Stored, frozen=True):
    """What a caller later said about an answer: `score_permille` from 0 (bad) to 1000 (good).

    `tenant` is the caller's: it counts only for a record that this tenant may see.
    """

    name: str
    score_permille: int
    reported_at_ns: int
    tenant: str = ""


class RecordSummary(_Stored, frozen=True):
    """One mission as it ended: all that is ever told of it, never prompt or answer text.

    `decided_ns` is from admission to the first decision. `journal_sequence` is 0 until it is shipped. `fact_vectors` has one for each decision, in order:
    see policy/vector.py. `snapshot_digest` is of the documents that it ran by. `traceparent` and
    `tracestate` are the caller's, valid (otel/context.py) or "".
    """

    record_id: str
    tenant: str
    profile: str
    principal: str
    router_id: str
    status: MissionStatus
    started_at_ns: int
    reason: str = ""
    agent_id: str = ""
    end_user_id: str = ""
    labels: Mapping[str, str] = {}
    decision: Decision | None = None
    attempts: tuple[AttemptSummary, ...] = ()
    usage: TokenUsage = TokenUsage()
    cost_usd_nanos: int = 0
    total_ns: int = 0
    first_token_ns: int = 0
    added_ns: int = 0
    steps: tuple[str, ...] = ()
    journal_sequence: int = 0
    outcomes: tuple[Outcome, ...] = ()
    fact_vectors: tuple[bytes, ...] = ()
    snapshot_digest: bytes = b""
    traceparent: str = ""
    tracestate: str = ""
    streamed: bool = False
    audit_required: bool = False
    decided_ns: int = 0
    embeds: bool = False


class MissionOpened(_Stored, frozen=True, tag=1):
    """A call was admitted. `decision` is the one of its first step, where that is made by now."""

    record_id: str
    tenant: str
    profile: str
    principal: str
    router_id: str
    started_at_ns: int
    agent_id: str = ""
    end_user_id: str = ""
    labels: Mapping[str, str] = {}
    decision: Decision | None = None
    snapshot_digest: bytes = b""
    traceparent: str = ""
    tracestate: str = ""
    streamed: bool = False
    audit_required: bool = False
    embeds: bool = False


class AttemptOpened(_Stored, frozen=True, tag=2):
    """An attempt is about to be reserved and sent; enough to settle it if the Router dies now.

    `price` is the one that settles it; None: unknown. The path is where it is charged, `counters` the
    leases that hold for it, lent in `epoch`. 0: none were, or it was reserved without leases.
    `region` is the model's own: whose books to ask where a provider has several addresses.
    """

    record_id: str
    attempt_id: str
    model: str
    provider: str
    vendor_model_id: str
    started_at_ns: int
    tenant: str
    profile: str
    agent_id: str = ""
    end_user_id: str = ""
    step_index: int = 0
    held_usd_nanos: int = 0
    held_tokens: int = 0
    input_tokens_max: int = 0
    price: ModelPrice | None = None
    region: str = ""
    epoch: int = 0
    counters: tuple[int, ...] = ()


class AttemptGrown(_Stored, frozen=True, tag=9):
    """An open attempt holds more by now: so much in all."""

    attempt_id: str
    held_usd_nanos: int
    held_tokens: int


class AttemptClosed(_Stored, frozen=True, tag=3):
    """An attempt ended. Until a `SettleAcked` follows, its resolution is owed to Budget."""

    record_id: str
    attempt: AttemptSummary
    resolution: Resolution


class SettleAcked(_Stored, frozen=True, tag=4):
    """Budget has taken the settlement, or the void, of an attempt."""

    attempt_id: str


class SettlesAcked(_Stored, frozen=True, tag=8):
    """Budget has taken what was owed of each of these attempts."""

    attempt_ids: tuple[str, ...]


class MissionClosed(_Stored, frozen=True, tag=5):
    """As `MissionRecorded`, in journals of earlier versions; none is written any more."""

    record: RecordSummary


class MissionRecorded(_Stored, frozen=True, tag=10):
    """A mission ended; its record waits to be shipped, as the message that it is shipped as."""

    record_id: str
    record: bytes


class OutcomeReported(_Stored, frozen=True, tag=6):
    """A caller said how good an answer was; waits to be shipped."""

    record_id: str
    outcome: Outcome


class Shipped(_Stored, frozen=True, tag=7):
    """Telemetry has every record and outcome up to and with the row numbered `sequence`."""

    sequence: int


Row: TypeAlias = (
    MissionOpened
    | AttemptOpened
    | AttemptGrown
    | AttemptClosed
    | SettleAcked
    | SettlesAcked
    | MissionClosed
    | MissionRecorded
    | OutcomeReported
    | Shipped
)
