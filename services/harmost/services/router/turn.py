"""What one step sends: classify → decide → redact, each a function. No I/O, no waiting.

A turn is immutable; each function returns the next one. What it finds comes from core.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from harmost.core.budget.input_bound import InputBound, input_bound
from harmost.core.budget.nodes import BudgetLimit
from harmost.core.budget.price import ModelPrice, usd_nanos
from harmost.core.budget.thresholds import Throttle
from harmost.core.chat import Call, Embeds, Generation, Message, Text, Tool, ToolChoice
from harmost.core.errors import PolicyDenied, RateLimited
from harmost.core.mission.steps import CompiledStep
from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.core.policy.facts import request_facts
from harmost.core.policy.vector import encoded
from harmost.core.privacy.redact import redact as redact_text
from harmost.core.privacy.redact import redact_json
from harmost.core.privacy.scan import find
from harmost.core.providers.codec import Fit
from harmost.core.providers.embed import EmbedCodec
from harmost.core.providers.embed_registry import embed_codec_of
from harmost.core.providers.registry import codec_of
from harmost.core.resources.kinds import ModelSpec
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.routing import fit
from harmost.core.routing.choose import chosen
from harmost.core.tenants import ancestors
from harmost.core.tokens.beyond import tokens_max_beyond
from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.estimate import bytes_bound
from harmost.core.tokens.measure import Shape

__all__ = [
    "Turn",
    "asked",
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
_NOTHING_MORE = Generation()
_NO_WISHES = msgspec.structs.asdict(_NOTHING_MORE)
# A denial travels in headers, of which clients take 8 KiB.
OTHER_RULES_MAX = 8


class Turn(msgspec.Struct, frozen=True):
    """Messages, what is asked of the answer, and what is known about them; `shape` is of all words.

    Pictures, sounds and documents count no tokens here: how many they are, each model says.
    """

    messages: tuple[Message, ...]
    generation: Generation
    modalities: tuple[str, ...]
    words_alone: bool  # nothing else is said, and none of what not every model can is asked for
    data_classes: tuple[str, ...]
    shape: Shape
    embeds: Embeds | None = None  # each message becomes a vector

    @property
    def context(self) -> Shape:
        """Of what must fit a model's context at once: all of it, or the longest text alone."""
        if self.embeds is None:
            return self.shape
        return Shape([max((message.text for message in self.messages), key=len)])

    @property
    def input_tokens(self) -> int:
        """About how many tokens they have, for whatever model."""
        return self.shape.tokens

    def input_bound(self, model: ModelSpec) -> InputBound:
        """What `model` can make of them at the most: no vocabulary makes more tokens of text."""
        text_tokens_max = bytes_bound(self.shape.utf8_bytes, self.shape.messages)
        return input_bound(
            text_tokens_max + tokens_max_beyond(self.messages, self.generation),
            media=fit.media(self.messages),
            media_tokens_max=model.media_tokens_max,
            tools=model.server_tools,
        )


def classify(call: Call, step: CompiledStep, outputs: Mapping[str, Mapping[str, Any]]) -> Turn:
    """What the step would send, and what stands in it.

    Earlier outputs follow the profile's own system text, so that a hand-off needs no code.
    """
    # Vectors are of the texts alone: a profile with a `system` is not asked for them (service.py).
    system = step.system if call.embeds is None else ""
    if outputs:
        results = json.dumps(outputs, ensure_ascii=False, sort_keys=True)
        system = f"{system}\n\nResults of earlier steps: {results}".lstrip()
    messages = (Message.of("system", system), *call.messages) if system else call.messages
    generation = _generation(call.generation, step)
    written = _written(messages, generation)
    found = {span.data_class for text in written for span in find(text)}
    return Turn(
        messages=messages,
        generation=generation,
        modalities=tuple(fit.modalities(messages)),
        words_alone=_asks_nothing_more(generation)
        and all(
            type(part) is Text and not part.cache for message in messages for part in message.parts
        ),
        data_classes=tuple(sorted(found | set(call.claims.data_classes))),
        shape=Shape(written),
        embeds=call.embeds,
    )


def _generation(generation: Generation, step: CompiledStep) -> Generation:
    """What of it is meant for `step`. Where a step declares its output, that is what it gives."""
    if step.output is None and step.last:
        return generation
    schema = step.output.json if step.output is not None else ""
    if not generation.tools and generation.output_schema_json == schema:
        return generation
    return msgspec.structs.replace(
        generation, tools=(), tool_choice=ToolChoice(), output_schema_json=schema
    )


def _asks_nothing_more(generation: Generation) -> bool:
    """Than how long the answer may be, which every format can say."""
    return msgspec.structs.replace(generation, output_tokens_max=0) == _NOTHING_MORE


def _written(messages: Sequence[Message], generation: Generation) -> list[str]:
    """All that the provider reads but media and ids of files."""
    written = [text for message in messages for text in message.written()]
    for tool in generation.tools:
        written += (tool.name, tool.description, tool.parameters_schema_json)
    if generation.output_schema_json:
        written.append(generation.output_schema_json)
    return written


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
        modalities=turn.modalities,
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

    def counted(found: tuple[str, dict[str, int]]) -> str:
        for data_class, count in found[1].items():
            spans[data_class] = spans.get(data_class, 0) + count
        return found[0]

    def text(words: str) -> str:
        return counted(redact_text(words, decision.redactions))

    def json_text(words: str) -> str:
        return counted(redact_json(words, decision.redactions))

    messages = tuple(message.rewritten(text, json_text) for message in turn.messages)
    generation = turn.generation
    if generation.tools or generation.output_schema_json:
        generation = msgspec.structs.replace(
            generation,
            output_schema_json=json_text(generation.output_schema_json),
            tools=tuple(
                Tool(
                    text(tool.name),
                    text(tool.description),
                    json_text(tool.parameters_schema_json),
                    tool.cache,
                )
                for tool in generation.tools
            ),
            tool_choice=msgspec.structs.replace(
                generation.tool_choice, name=text(generation.tool_choice.name)
            ),
        )
    redactions = tuple(
        msgspec.structs.replace(redaction, spans=spans.get(redaction.data_class, 0))
        for redaction in decision.redactions
    )
    return (
        msgspec.structs.replace(
            turn,
            messages=messages,
            generation=generation,
            shape=Shape(_written(messages, generation)),
        ),
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
    resting: Mapping[str, float] = MappingProxyType({}),
) -> Decision:
    """The decision with its candidates in the order to try them; raises when none is left.

    `cheaper` is the budget that asks for cheaper models to come first; None: none does. `resting` are
    models whose provider asked for a rest, and for how many seconds still: they come last.
    """
    models, context = snapshot.catalog.models, turn.context
    kept, left_out = chosen(
        decision.candidates,
        models={name: models[name].spec for name in decision.candidates},
        prices=snapshot.prices.at(now_s),
        input_tokens=turn.input_tokens,
        input_tokens_of=lambda name: calibration.input_tokens(call.profile, name, context),
        output_tokens_max=output_tokens_max(call, step, snapshot, decision),
        usd_nanos_per_1k_tokens_max=_ceiling_usd_nanos(call, snapshot, decision),
        profile=call.profile,
        unfit=_unfit(call, step, turn, decision, snapshot),
        cheaper_first=cheaper is not None,
        resting=resting,
    )
    if not kept:
        raise _none_fits(call.profile, left_out)
    hits = decision.hits
    if cheaper is not None and kept != tuple(n for n in decision.candidates if n in kept):
        hits += (_cheaper_first(cheaper),)
    first = next(name for name in decision.candidates if name in kept)
    if first in resting and kept[0] not in resting:
        hits += tuple(_rests(name, resting[name]) for name in kept if name in resting)
    return msgspec.structs.replace(
        decision, hits=hits, candidates=kept, exclusions=decision.exclusions + left_out
    )


def asked(
    turn: Turn, step: CompiledStep, model: str, snapshot: CompiledSnapshot
) -> tuple[Generation, tuple[str, ...]]:
    """What an attempt of `model` asks for, and by name what it leaves out."""
    spec, generation = snapshot.catalog.models[model].spec, turn.generation
    if turn.embeds is not None:
        codec = _embed_codec(model, snapshot)
        return generation, codec.fit(
            spec.vendor_model_id, turn.embeds
        ).drops if codec is not None else ()
    if turn.words_alone:
        return generation, ()
    left_out = fit.dropped(spec, _fit(turn, model, snapshot), generation)
    changed = {name: _NO_WISHES[name] for name in left_out if name in _NO_WISHES}
    if step.output is not None and "json_schema" not in spec.capabilities:
        changed["output_schema_json"] = ""  # the step's own: its answer is checked in any case
    return msgspec.structs.replace(generation, **changed) if changed else generation, left_out


def _fit(turn: Turn, model: str, snapshot: CompiledSnapshot) -> Fit:
    catalog = snapshot.catalog
    spec = catalog.models[model].spec
    provider = catalog.providers[spec.provider].spec
    return codec_of(provider).fit(turn.messages, fit.within(spec, turn.generation))


def _embed_codec(model: str, snapshot: CompiledSnapshot) -> EmbedCodec | None:
    catalog = snapshot.catalog
    return embed_codec_of(catalog.providers[catalog.models[model].spec.provider].spec)


def _unfit(
    call: Call, step: CompiledStep, turn: Turn, decision: Decision, snapshot: CompiledSnapshot
) -> Mapping[str, str]:
    """Candidates that cannot be asked this, and why."""
    models = snapshot.catalog.models
    if turn.embeds is not None:
        return _unfit_to_embed(call, turn.embeds, decision, snapshot)
    mute = {
        name: "it makes vectors and answers nothing: ask for them, or for another model"
        for name in decision.candidates
        if fit.embeds_alone(models[name].spec)
    }
    if turn.words_alone:
        return mute
    needed = fit.needs(turn.messages, turn.generation)
    if step.output is not None:  # its answer is read by us: a model need not know of schemas
        needed = tuple(name for name in needed if name != "json_schema")
    catalog = snapshot.catalog
    refuses = catalog.profiles[call.profile].spec.unsupported_parameters == "refuse"
    reasons = mute
    for model in decision.candidates:
        spec, said = catalog.models[model].spec, _fit(turn, model, snapshot)
        wishes = fit.dropped(spec, said, turn.generation) if refuses else ()
        why = fit.unfit(spec, said, needed, wishes)
        if why:
            reasons.setdefault(model, why)
    return reasons


def _unfit_to_embed(
    call: Call, embeds: Embeds, decision: Decision, snapshot: CompiledSnapshot
) -> Mapping[str, str]:
    catalog = snapshot.catalog
    drop = catalog.profiles[call.profile].spec.unsupported_parameters == "drop"
    found = {
        name: fit.unfit_to_embed(
            catalog.models[name].spec,
            _embed_codec(name, snapshot),
            embeds,
            texts=len(call.messages),
            drop=drop,
        )
        for name in decision.candidates
    }
    return {name: why for name, why in found.items() if why}


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
    """The tightest of what the caller asks, the step and the profile say, and policy caps.

    Vectors are no tokens: 0.
    """
    if call.embeds is not None:
        return 0
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


def _rests(model: str, rest_s: float) -> RuleHit:
    return RuleHit(
        policy=f"model {model}",
        rule="rate_limit",
        effect="require",
        mode="warn",
        message=f"its provider has nothing left for {rest_s:.0f} s: others come first",
    )


def _none_fits(profile: str, left_out: Sequence[Exclusion]) -> PolicyDenied:
    reasons = "; ".join(f"`{out.model}`: {out.hit.message}" for out in left_out)
    return PolicyDenied(
        f"no candidate of profile `{profile}` is left: {reasons}",
        details={"policy": f"profile {profile}", "rule": "choose"},
    )
