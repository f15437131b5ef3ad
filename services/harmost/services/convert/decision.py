"""`Decision` and its proto."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from harmost.common.v1 import decision_pb2
from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision, Effect, Exclusion, Mode, Redaction, RuleHit
from harmost.services.convert.enums import literal
from harmost.services.convert.forms import form_of

__all__ = ["decision_from_proto", "decision_to_bytes", "decision_to_proto", "hit_to_proto"]

# Decisions that are remembered, of some 10 KB each with a hundred rules that matched.
DECISIONS_MAX = 256

_EFFECTS: Mapping[Effect, "decision_pb2.Effect.ValueType"] = {
    "allow": decision_pb2.EFFECT_ALLOW,
    "deny": decision_pb2.EFFECT_DENY,
    "require": decision_pb2.EFFECT_REQUIRE,
    "redact": decision_pb2.EFFECT_REDACT,
    "cap_tokens": decision_pb2.EFFECT_CAP_TOKENS,
    "cap_price": decision_pb2.EFFECT_CAP_PRICE,
}
_MODES: Mapping[Mode, "decision_pb2.Mode.ValueType"] = {
    "enforce": decision_pb2.MODE_ENFORCE,
    "warn": decision_pb2.MODE_WARN,
    "shadow": decision_pb2.MODE_SHADOW,
}
_EFFECT_NAMES: Mapping[int, Effect] = {number: name for name, number in _EFFECTS.items()}
_MODE_NAMES: Mapping[int, Mode] = {
    decision_pb2.MODE_UNSPECIFIED: "enforce",
    **{number: name for name, number in _MODES.items()},
}
_ANSWERS: Mapping[int, Literal["allow", "deny"]] = {
    decision_pb2.EFFECT_ALLOW: "allow",
    decision_pb2.EFFECT_DENY: "deny",
}


_HIT = form_of(
    decision_pb2.RuleHit,
    RuleHit,
    names={"expires_at": "expires_ns"},
    how={"effect": _EFFECTS, "mode": _MODES},
)
_EXCLUSION = form_of(decision_pb2.Exclusion, Exclusion, names={"rule": "hit"}, how={"rule": _HIT})
_DECISION = form_of(
    decision_pb2.Decision,
    Decision,
    names={"rules": "hits"},
    how={
        "effect": _EFFECTS,
        "rules": _HIT,
        "exclusions": _EXCLUSION,
        "redactions": form_of(decision_pb2.Redaction, Redaction, names={"with": "how"}),
        "denied_by": _HIT,
    },
)


@lru_cache(maxsize=DECISIONS_MAX)
def decision_to_bytes(decision: Decision) -> bytes:
    """`decision` as its message, serialized.

    Calls of one kind are decided alike, and each decision is told twice, to the caller and in the
    record.
    """
    return _DECISION.write(decision)


def decision_to_proto(decision: Decision) -> decision_pb2.Decision:
    """`decision` for the wire."""
    return decision_pb2.Decision.FromString(_DECISION.write(decision))


def decision_from_proto(decision: decision_pb2.Decision, *, field: str = "decision") -> Decision:
    """`decision` in the domain; `field` is its path, for errors."""
    try:
        return _remembered(decision.SerializeToString())
    except InvalidInput:
        return _from_proto(decision, field)


@lru_cache(maxsize=DECISIONS_MAX)
def _remembered(decision: bytes) -> Decision:
    return _from_proto(decision_pb2.Decision.FromString(decision), "decision")


def _from_proto(decision: decision_pb2.Decision, field: str) -> Decision:
    return Decision(
        effect=literal(_ANSWERS, decision.effect, field=f"{field}.effect"),
        hits=tuple(
            _hit_from_proto(hit, f"{field}.rules[{index}]")
            for index, hit in enumerate(decision.rules)
        ),
        exclusions=tuple(
            Exclusion(
                model=exclusion.model,
                hit=_hit_from_proto(exclusion.rule, f"{field}.exclusions[{index}].rule"),
            )
            for index, exclusion in enumerate(decision.exclusions)
        ),
        candidates=tuple(decision.candidates),
        output_tokens_max=decision.output_tokens_max,
        usd_nanos_per_1k_tokens_max=decision.usd_nanos_per_1k_tokens_max,
        redactions=tuple(_redaction_from_proto(redaction) for redaction in decision.redactions),
        denied_by=(
            _hit_from_proto(decision.denied_by, f"{field}.denied_by")
            if decision.HasField("denied_by")
            else None
        ),
        snapshot_generation=decision.snapshot_generation,
        data_classes=tuple(decision.data_classes),
    )


def hit_to_proto(hit: RuleHit) -> decision_pb2.RuleHit:
    """`hit` for the wire."""
    return decision_pb2.RuleHit.FromString(_HIT.write(hit))


def _hit_from_proto(hit: decision_pb2.RuleHit, field: str) -> RuleHit:
    return RuleHit(
        policy=hit.policy,
        rule=hit.rule,
        effect=literal(_EFFECT_NAMES, hit.effect, field=f"{field}.effect"),
        mode=literal(_MODE_NAMES, hit.mode, field=f"{field}.mode"),
        message=hit.message,
        citations=tuple(hit.citations),
        error=hit.error,
        approver=hit.approver,
        expires_s=hit.expires_at.seconds,
    )


def _redaction_from_proto(redaction: decision_pb2.Redaction) -> Redaction:
    return Redaction(
        data_class=redaction.data_class,
        how=getattr(redaction, "with"),
        spans=redaction.spans,
    )
