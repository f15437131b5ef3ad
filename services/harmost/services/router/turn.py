"""What one step sends: classify → decide → redact, each a function. No I/O, no waiting.

A turn is immutable; each function returns the next one. What it finds comes from core.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from harmost.core.budget.input_bound import InputBound, input_bound
from harmost.core.budget.nodes import BudgetLimit
from harmost.core.budget.price import ModelPrice, usd_nanos
from harmost.core.budget.thresholds import Throttle
from harmost.core.chat import Call, Message
from harmost.core.errors import PolicyDenied, RateLimited
from harmost.core.mission.steps import CompiledStep
from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.core.policy.facts import request_facts
from harmost.core.policy.vector import encoded
from harmost.core.privacy.redact import redact as redact_text
from harmost.core.privacy.scan import find
from harmost.core.resources.kinds import ModelSpec
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.routing.choose import chosen
from harmost.core.tenants import ancestors
from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.estimate import bytes_bound
from harmost.core.tokens.measure import Shape

__all__ = [
    "Turn",
    "choose",
    "classify",
    "decide",
    "denied",
    "merged",
    "output_tokens_max",
    "redact",
    "throttled",
]

# What each model of the snapshot costs now; None: not known.
Prices: TypeAlias = Mapping[str, ModelPrice | None]
# A denial travels in headers, of which clients take 8 KiB.
OTHER_RULES_MAX = 8


class Turn(msgspec.Struct, frozen=True):
    """Messages and what is known about them; `shape` is theirs."""

    messages: tuple[Message, ...]
    data_classes: tuple[str, ...]
    shape: Shape

    @property
    def input_tokens(self) -> int:
        """About how many tokens they have, for whatever model."""
        return self.shape.tokens

    def input_bound(self, model: ModelSpec) -> InputBound:
        """What `model` can make of them at the most: no vocabulary makes more tokens of text."""
        text_tokens_max = bytes_bound(self.shape.utf8_bytes, self.shape.messages)
        return input_bound(text_tokens_max, tools=model.server_tools)


def classify(call: Call, step: CompiledStep, outputs: Mapping[str, Mapping[str, Any]]) -> Turn:
    """What the step would send, and what stands in it.

    Earlier outputs follow the profile's own system text, so that a hand-off needs no code.
    """
    system = step.system
    if outputs:
        results = json.dumps(outputs, ensure_ascii=False, sort_keys=True)
        system = f"{system}\n\nResults of earlier steps: {results}".lstrip()
    messages = (Message("system", system), *call.messages) if system else call.messages
    found = {span.data_class for message in messages for span in find(message.text)}
    return Turn(
        messages=messages,
        data_classes=tuple(sorted(found | set(call.claims.data_classes))),
        shape=_shape(messages),
    )


def _shape(messages: Sequence[Message]) -> Shape:
    return Shape(message.text for message in messages)


def decide(
    call: Call,
    step: CompiledStep,
    turn: Turn,
    snapshot: CompiledSnapshot,
    *,
    tls: bool,
    now_s: int,
) -> tuple[Decision, bytes]:
    """One decision for the step at `now_s` (Unix seconds); the effect may be "deny".

    And the fact vector that it is recorded with.
    """
    catalog = snapshot.catalog
    known = [catalog.tenants[path] for path in ancestors(call.tenant) if path in catalog.tenants]
    facts = request_facts(
        call,
        tenant=known[-1].spec if known else None,
        data_classes=turn.data_classes,
        input_tokens=turn.input_tokens,
        input_bytes=turn.shape.utf8_bytes,
        output_tokens_max=output_tokens_max(call, step, snapshot, None),
        tls=tls,
    )
    candidates = snapshot.candidates.at(step.models, now_s)
    decision = snapshot.engine.decide(facts, candidates, now_s=now_s)
    vector = encoded(facts, step.models, decision)
    return msgspec.structs.replace(decision, data_classes=turn.data_classes), vector


def denied(decision: Decision) -> PolicyDenied:
    """The error that tells a denial: the rule that took the last candidate, and those before it."""
    hit = decision.denied_by
    assert hit is not None  # INVARIANT of Decision: set exactly when the effect is "deny"
    cites = f" ({', '.join(hit.citations)})" if hit.citations else ""
    why = f": {hit.message}" if hit.message else ""
    others = _other_rules(decision, hit)
    after = f"; other candidates were taken out by {', '.join(others)}" if others else ""
    return PolicyDenied(
        f"policy `{hit.policy}` rule `{hit.rule}` denies this call{cites}{why}{after}",
        details={
            "policy": hit.policy,
            "rule": hit.rule,
            "citations": ", ".join(hit.citations),
            "snapshot_generation": str(decision.snapshot_generation),
        },
    )


def _other_rules(decision: Decision, last: RuleHit) -> list[str]:
    """The rules that took out candidates before `last` did; some of them where there are many."""
    rules = dict.fromkeys((out.hit.policy, out.hit.rule) for out in decision.exclusions)
    rules.pop((last.policy, last.rule), None)
    named = [f"`{policy}/{rule}`" for policy, rule in list(rules)[:OTHER_RULES_MAX]]
    more = len(rules) - len(named)
    return [*named, f"{more} more"] if more else named


def redact(turn: Turn, decision: Decision) -> tuple[Turn, Decision]:
    """Replace what must not leave; the decision then says how many spans that were."""
    if not decision.redactions:
        return turn, decision
    spans: dict[str, int] = {}
    messages: list[Message] = []
    for message in turn.messages:
        text, replaced = redact_text(message.text, decision.redactions)
        messages.append(Message(message.role, text))
        for data_class, count in replaced.items():
            spans[data_class] = spans.get(data_class, 0) + count
    redactions = tuple(
        msgspec.structs.replace(redaction, spans=spans.get(redaction.data_class, 0))
        for redaction in decision.redactions
    )
    return (
        msgspec.structs.replace(turn, messages=tuple(messages), shape=_shape(messages)),
        msgspec.structs.replace(decision, redactions=redactions),
    )


def choose(
    call: Call,
    step: CompiledStep,
    turn: Turn,
    decision: Decision,
    snapshot: CompiledSnapshot,
    *,
    now_s: int,
    calibration: Calibration,
    cheaper: BudgetLimit | None = None,
) -> Decision:
    """The decision with its candidates in the order to try them; raises when none is left.

    `cheaper` is the budget that asks for cheaper models to come first; None: none does.
    """
    models = snapshot.catalog.models
    kept, left_out = chosen(
        decision.candidates,
        models={name: models[name].spec for name in decision.candidates},
        prices=snapshot.prices.at(now_s),
        input_tokens=turn.input_tokens,
        input_tokens_of=lambda name: calibration.input_tokens(call.profile, name, turn.shape),
        output_tokens_max=output_tokens_max(call, step, snapshot, decision),
        usd_nanos_per_1k_tokens_max=_ceiling_usd_nanos(call, snapshot, decision),
        profile=call.profile,
        cheaper_first=cheaper is not None,
    )
    if not kept:
        raise _none_fits(call.profile, left_out)
    hits = decision.hits
    if cheaper is not None and kept != tuple(n for n in decision.candidates if n in kept):
        hits += (_cheaper_first(cheaper),)
    return msgspec.structs.replace(
        decision, hits=hits, candidates=kept, exclusions=decision.exclusions + left_out
    )


def throttled(throttle: Throttle) -> RateLimited:
    """The error that tells a budget's pace, and when to come again."""
    limit, retry_after_s = throttle.limit, throttle.retry_after_ns / 1e9
    return RateLimited(
        f"budget `{limit.budget}` of `{limit.node}` is used ahead of its time and gives out the rest "
        f"evenly: come again in {retry_after_s:.0f} s, or raise its limit",
        retry_after_s=retry_after_s,
        details={
            "budget": limit.budget,
            "node": limit.node,
            "throttle_at_percent": str(limit.throttle_at_permille // 10),
        },
    )


def merged(before: Decision | None, after: Decision) -> Decision:
    """What the record tells of several steps: rules and redactions of all, else of the last."""
    if before is None:
        return after
    spans: dict[tuple[str, str], int] = {}
    for redaction in (*before.redactions, *after.redactions):
        name = (redaction.data_class, redaction.how)
        spans[name] = max(spans.get(name, 0), redaction.spans)  # each step sends the same messages
    return msgspec.structs.replace(
        after,
        hits=tuple(dict.fromkeys((*before.hits, *after.hits))),
        redactions=tuple(
            Redaction(data_class=data_class, how=how, spans=count)
            for (data_class, how), count in spans.items()
        ),
        data_classes=tuple(sorted({*before.data_classes, *after.data_classes})),
    )


def output_tokens_max(
    call: Call, step: CompiledStep, snapshot: CompiledSnapshot, decision: Decision | None
) -> int:
    """The tightest of what the caller asks, the step and the profile say, and policy caps."""
    bounds = (
        call.generation.output_tokens_max,
        step.output_tokens_max,
        snapshot.catalog.profiles[call.profile].spec.output_tokens_max,
        decision.output_tokens_max if decision is not None else 0,
    )
    return min(filter(None, bounds))


def _ceiling_usd_nanos(call: Call, snapshot: CompiledSnapshot, decision: Decision) -> int | None:
    """The tighter of the profile's ceiling and policy's cap, for 1,000 tokens; None: neither."""
    said = snapshot.catalog.profiles[call.profile].spec.cost.usd_per_1k_tokens_max
    ceilings = [usd_nanos(said)] if said else []
    if decision.usd_nanos_per_1k_tokens_max:
        ceilings.append(decision.usd_nanos_per_1k_tokens_max)
    return min(ceilings, default=None)


def _cheaper_first(limit: BudgetLimit) -> RuleHit:
    return RuleHit(
        policy=f"budget {limit.budget}",
        rule="cheaper_at_percent",
        effect="cap_price",
        mode="warn",
        message=f"from {limit.cheaper_at_permille // 10} % of `{limit.node}` on, cheaper models come first",
    )


def _none_fits(profile: str, left_out: Sequence[Exclusion]) -> PolicyDenied:
    reasons = "; ".join(f"`{out.model}`: {out.hit.message}" for out in left_out)
    return PolicyDenied(
        f"no candidate of profile `{profile}` is left: {reasons}",
        details={"policy": f"profile {profile}", "rule": "choose"},
    )
