"""What policy says about one call: the answer type that the engine gives and the Router obeys.

Nothing here can be part of a cycle, so the garbage collector leaves it alone: there is one hit for each
rule, and a decision for each call.
"""

from typing import Literal

import msgspec

__all__ = ["Decision", "Effect", "Exclusion", "Mode", "Redaction", "RuleHit"]

Effect = Literal["allow", "deny", "require", "redact", "cap_tokens", "cap_price"]
Mode = Literal["enforce", "warn", "shadow"]


class RuleHit(msgspec.Struct, frozen=True, kw_only=True, gc=False, cache_hash=True):
    """A rule that matched. `error` is set where it matched because it could not be evaluated.

    `approver` and `expires_s` (Unix seconds) are set for an exception.
    """

    policy: str
    rule: str
    effect: Effect
    mode: Mode = "enforce"
    message: str = ""
    citations: tuple[str, ...] = ()
    error: str = ""
    approver: str = ""
    expires_s: int = 0

    @property
    def expires_ns(self) -> int:
        """`expires_s` in Unix nanoseconds."""
        return self.expires_s * 1_000_000_000


class Exclusion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A candidate that a rule took out."""

    model: str
    hit: RuleHit


class Redaction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A data class that is replaced before anything is sent. `how`: "label" or "mask_last4".

    `spans` is how many were replaced, once they were.
    """

    data_class: str
    how: str
    spans: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision. `denied_by` is set exactly when `effect` is "deny"; `candidates` keep the order given.

    `output_tokens_max` and `usd_nanos_per_1k_tokens_max` are the tightest caps; 0 means no rule caps.
    `data_classes` were found in the input.
    """

    effect: Literal["allow", "deny"]
    hits: tuple[RuleHit, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    candidates: tuple[str, ...] = ()
    output_tokens_max: int = 0
    usd_nanos_per_1k_tokens_max: int = 0
    redactions: tuple[Redaction, ...] = ()
    denied_by: RuleHit | None = None
    snapshot_generation: int = 0
    data_classes: tuple[str, ...] = ()
