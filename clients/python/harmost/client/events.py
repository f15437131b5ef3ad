"""What comes back from a call, as plain frozen values. Money is int nano-USD, time int nanoseconds.

Names of enums are lower case without their prefix ("stop", "policy_denied"); "" means not stated.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from harmost.client.parts import Part, ToolCall

__all__ = [
    "Attempt",
    "ChatResult",
    "Decision",
    "Delta",
    "EmbedResult",
    "Event",
    "Exclusion",
    "Finished",
    "Hop",
    "ModelInfo",
    "ProfileInfo",
    "Redaction",
    "RuleHit",
    "Started",
    "StepFinished",
    "StepStarted",
    "TokenUsage",
    "ToolCallDelta",
]

USD_NANOS = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens billed, by class. Input includes cached tokens, output includes reasoning."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_5m_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    source: str = ""  # "provider" or "estimated"


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that matched: what it does, how seriously it is meant, what it rests on.

    `approver` is set for an exception: who approved it.
    """

    policy: str
    rule: str
    effect: str
    mode: str
    citations: tuple[str, ...] = ()
    error: str = ""
    message: str = ""
    approver: str = ""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A model that policy took out, and the rule that did."""

    model: str
    rule: RuleHit


@dataclass(frozen=True, slots=True)
class Redaction:
    """A data class that was replaced before the prompt left, and how often."""

    data_class: str
    how: str
    spans: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy said. `output_tokens_max`, `usd_nanos_per_1k_tokens_max` 0: no rule caps."""

    effect: str = ""
    rules: tuple[RuleHit, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    candidates: tuple[str, ...] = ()
    output_tokens_max: int = 0
    redactions: tuple[Redaction, ...] = ()
    snapshot_generation: int = 0
    data_classes: tuple[str, ...] = ()
    usd_nanos_per_1k_tokens_max: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one model: the unit of money. `error_kind` is one word for what every vendor calls otherwise."""

    attempt_id: str
    model: str
    provider: str
    outcome: str
    error: str
    usage: TokenUsage
    cost_usd_nanos: int
    held_usd_nanos: int
    first_token_ns: int
    total_ns: int
    step_index: int
    provider_response_id: str
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The call is admitted and decided; nothing has been sent to a provider yet."""

    sequence: int
    record_id: str
    tenant: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins on its first model."""

    sequence: int
    step_index: int
    step: str
    model: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer; `reasoning` is what the provider shows of its reasoning."""

    sequence: int
    step_index: int
    choice_index: int
    attempt_id: str
    text: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call."""

    sequence: int
    step_index: int
    choice_index: int
    attempt_id: str
    tool_call_index: int
    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Hop:
    """The exchange moved to another model; `cause` is how the earlier attempt ended."""

    sequence: int
    step_index: int
    from_attempt_id: str
    from_model: str
    to_attempt_id: str
    to_model: str
    cause: str
    error: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended, or was left out (`skipped`). `output` is None where no schema is declared."""

    sequence: int
    step_index: int
    step: str
    skipped: bool
    model: str
    output: Mapping[str, Any] | None
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: how the mission ended and what it cost."""

    sequence: int
    record_id: str
    finish_reason: str
    model: str
    provider: str
    usage: TokenUsage
    cost_usd_nanos: int
    price_unknown: bool
    decision: Decision
    attempts: tuple[Attempt, ...]
    warnings: tuple[str, ...]
    added_ns: int

    @property
    def cost_usd(self) -> Decimal:
        """Cost in US dollars, exact."""
        return Decimal(self.cost_usd_nanos) / USD_NANOS


Event: TypeAlias = Started | StepStarted | Delta | ToolCallDelta | Hop | StepFinished | Finished


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """A vector of float32 for each text, in order, and how they came about."""

    vectors: tuple["array[float]", ...]
    finished: Finished

    @property
    def record_id(self) -> str:
        """Names the kept record."""
        return self.finished.record_id


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer: the text of the last step, all its parts, and how it came about."""

    text: str
    finished: Finished
    parts: tuple[Part, ...] = ()

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model asks for, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def record_id(self) -> str:
        """Names the kept record; `report_outcome` wants it."""
        return self.finished.record_id

    @property
    def cost_usd(self) -> Decimal:
        """Cost in US dollars, exact."""
        return self.finished.cost_usd


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of the catalog. Prices are trillionths of a US dollar a token; None: not known."""

    name: str
    provider: str
    vendor_model_id: str
    context_tokens_max: int
    region: str
    input_usd_picos_per_token: int | None
    output_usd_picos_per_token: int | None
    status: str
    version: str = ""
    output_tokens_max: int = 0
    capabilities: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    quality: Mapping[str, int] = field(default_factory=dict[str, int])
    deprecated_on: str = ""
    retires_on: str = ""
    replacement: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A mission profile that the key may call."""

    name: str
    tenant: str
    steps: tuple[str, ...]
    models: tuple[str, ...]
    description: str
