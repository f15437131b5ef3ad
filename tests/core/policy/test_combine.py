"""How effects combine, as algebra over random policies: the laws of docs/policy.md."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.policy.compile import compile_policies
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import Candidate
from harmost.core.policy.rollout import rolled_out
from harmost.core.resources.kinds import (
    Metadata,
    PolicyException,
    PolicySpec,
    Redact,
    Rollout,
    Rule,
)

CASES = effort(40, ci=1_000, nightly=50_000)
laws = settings(max_examples=CASES, deadline=None)

PICOS = {"m0": 1_000_000, "m1": 2_000_000, "m2": 3_000_000}  # a token, in or out
NAMES = tuple(PICOS)
CANDIDATES = [
    Candidate(
        name,
        {
            "model.name": name,
            "model.price_known": True,
            "model.input_usd_picos_per_token": picos,
            "model.output_usd_picos_per_token": picos,
        },
    )
    for name, picos in PICOS.items()
]
TENANT = "acme/retail"
OWNERS = ("", "acme", "acme/retail", "globex")
NOW_S = 1_000_000_000
EXPIRED, RUNNING = "2001-09-09T01:46:40Z", "2001-09-09T01:46:41Z"  # at NOW_S, and just after it


def among(names: Sequence[str]) -> str:
    return "model.name in [" + ", ".join(f'"{name}"' for name in names) + "]"


SUBSETS = [[n for i, n in enumerate(NAMES) if bits >> i & 1] for bits in range(8)]
where = st.sampled_from(["", *map(among, SUBSETS)])
priorities = st.integers(0, 2)
RESTRICTIVE: list[st.SearchStrategy[dict[str, Any]]] = [
    st.just({"deny": "no"}),
    st.sampled_from(SUBSETS).map(lambda names: {"require": among(names)}),
    st.sampled_from([("pan",), ("email",), ("email", "pan")]).flatmap(
        lambda classes: st.sampled_from(["label", "mask_last4"]).map(
            lambda how: {"redact": Redact(classes=classes, with_=how)}
        )
    ),
    st.integers(1, 9).map(lambda tokens: {"cap_output_tokens": tokens}),
    st.sampled_from(["0.0005", "0.001", "0.002", "0.0025", "9"]).map(
        lambda usd: {"cap_usd_per_1k_tokens": usd}
    ),
]
modes = st.sampled_from(["enforce", "enforce", "enforce", "warn", "shadow"])
rollouts = st.sampled_from([None, None, *(Rollout(percent=p) for p in (0, 40, 60, 100))])


class Owned(NamedTuple):
    """A rule or exception, and the tenant of its document."""

    tenant: str
    rule: Rule | PolicyException


@st.composite
def restrictive(draw: st.DrawFn, mode: str = "") -> Owned:
    """A rule that can only take away."""
    effect = draw(st.one_of(RESTRICTIVE))
    mode = mode or draw(modes)
    rule = Rule(
        name="",
        when=draw(where),
        priority=draw(priorities),
        mode=mode,  # type: ignore[arg-type]
        rollout=draw(rollouts) if mode == "enforce" else None,
        **effect,
    )
    return Owned(draw(st.sampled_from(OWNERS)), rule)


@st.composite
def allowing(draw: st.DrawFn) -> Owned:
    """An allow for good or for a time."""
    tenant, priority = draw(st.sampled_from(OWNERS)), draw(priorities)
    when = draw(where.filter(bool))
    if draw(st.booleans()):
        return Owned(
            tenant, Rule(name="", when=when, allow=True, priority=priority, mode=draw(modes))
        )
    exception = PolicyException(
        name="",
        when=when,
        owner="ann",
        approver="bob",
        expires=draw(st.sampled_from([EXPIRED, RUNNING])),
        reason="trial",
        priority=priority,
    )
    return Owned(tenant, exception)


policies = st.lists(st.one_of(restrictive(), restrictive(), allowing()), max_size=7)


def decide(owned: Sequence[Owned], candidates: Sequence[Candidate] = CANDIDATES) -> Decision:
    """The decision of one document for each, named by its place in `owned` unless it has a name."""
    documents: list[tuple[Metadata, PolicySpec]] = []
    for index, (tenant, rule) in enumerate(owned):
        named = msgspec.structs.replace(rule, name=rule.name or f"r{index}")
        spec = (
            PolicySpec(rules=(named,))
            if isinstance(named, Rule)
            else PolicySpec(exceptions=(named,))
        )
        documents.append((Metadata(name=f"p{named.name}", tenant=tenant), spec))
    facts = {"request.tenant": TENANT, "input.tokens": 10, "output.tokens_max": 10}
    engine = compile_policies(documents, generation=1)
    decision = engine.decide(facts, candidates, now_s=NOW_S)
    # The slow way, rule by rule, says the same: the laws hold for both.
    assert engine.explain(facts, candidates, now_s=NOW_S)[0] == decision
    return decision


def outcome(decision: Decision) -> tuple[object, ...]:
    """What is decided, without who is named for it."""
    return (
        decision.effect,
        decision.candidates,
        decision.redactions,
        decision.output_tokens_max,
        decision.usd_nanos_per_1k_tokens_max,
    )


def named(owned: Sequence[Owned]) -> list[Owned]:
    """Each with a name of its own, so that it keeps it wherever it stands."""
    return [
        Owned(tenant, msgspec.structs.replace(rule, name=f"n{index}"))
        for index, (tenant, rule) in enumerate(owned)
    ]


def enforced(decision: Decision) -> list[str]:
    return [hit.rule for hit in decision.hits if hit.mode == "enforce"]


@laws
@given(policies, st.randoms(use_true_random=False))
def test_order_of_rules_changes_nothing_but_who_is_named(
    owned: list[Owned], chance: random.Random
) -> None:
    rules = named(owned)
    shuffled = list(rules)
    chance.shuffle(shuffled)
    one, other = decide(rules), decide(shuffled)
    assert outcome(one) == outcome(other)
    assert set(one.hits) == set(other.hits)
    assert {each.model for each in one.exclusions} == {each.model for each in other.exclusions}


@laws
@given(policies, restrictive(mode="enforce"))
def test_one_more_restrictive_rule_never_widens(owned: list[Owned], more: Owned) -> None:
    """For each candidate by itself, and for the set of them."""
    rules = named(owned)
    before, after = decide(rules), decide([*rules, more])
    assert set(after.candidates) <= set(before.candidates)
    assert before.effect == "allow" or after.effect == "deny"
    for candidate in CANDIDATES:
        alone_before = decide(rules, [candidate])
        alone_after = decide([*rules, more], [candidate])
        if alone_after.effect == "deny":
            continue
        assert alone_before.effect == "allow"
        for cap in ("output_tokens_max", "usd_nanos_per_1k_tokens_max"):
            was, now = getattr(alone_before, cap), getattr(alone_after, cap)
            assert not was or 0 < now <= was
        classes = {each.data_class: each.how for each in alone_after.redactions}
        for redaction in alone_before.redactions:
            assert classes[redaction.data_class] in ("label", redaction.how)


@laws
@given(policies)
def test_warn_and_shadow_never_change_the_outcome(owned: list[Owned]) -> None:
    rules = named(owned)
    effective = [
        each
        for each in rules
        if isinstance(each.rule, PolicyException) or _enforced_for_tenant(each.rule)
    ]
    assert outcome(decide(rules)) == outcome(decide(effective))
    assert enforced(decide(rules)) == enforced(decide(effective))


def _enforced_for_tenant(rule: Rule) -> bool:
    percent = rule.rollout.percent if rule.rollout else 100
    return rule.mode == "enforce" and rolled_out(f"p{rule.name}", TENANT, percent)


@laws
@given(policies)
def test_an_expired_exception_is_as_if_it_were_not_there(owned: list[Owned]) -> None:
    rules = named(owned)
    running = [
        each
        for each in rules
        if not (isinstance(each.rule, PolicyException) and each.rule.expires == EXPIRED)
    ]
    assert decide(rules) == decide(running)


@laws
@given(policies)
def test_rules_of_another_line_of_tenants_are_as_if_they_were_not_there(
    owned: list[Owned],
) -> None:
    rules = named(owned)
    assert decide(rules) == decide([each for each in rules if each.tenant != "globex"])


@laws
@given(policies)
def test_an_empty_set_of_candidates_is_a_denial_that_names_what_emptied_it(
    owned: list[Owned],
) -> None:
    decision = decide(owned)
    assert (decision.effect == "deny") == (not decision.candidates)
    gone = [each.model for each in decision.exclusions]
    assert sorted([*gone, *decision.candidates]) == sorted(NAMES)
    if decision.effect == "deny":
        assert decision.denied_by in [each.hit for each in decision.exclusions]
        assert outcome(decision) == ("deny", (), (), 0, 0)
    for exclusion in decision.exclusions:
        assert exclusion.hit in decision.hits
        assert exclusion.hit.mode == "enforce"
        assert exclusion.hit.effect in ("deny", "require", "cap_price")


@laws
@given(policies)
def test_each_candidate_is_decided_by_itself(owned: list[Owned]) -> None:
    rules = named(owned)
    together = decide(rules)
    alone = [decide(rules, [candidate]) for candidate in CANDIDATES]
    assert set(together.candidates) == {name for each in alone for name in each.candidates}
    redactions = {(r.data_class, r.how) for each in alone for r in each.redactions}
    for redaction in together.redactions:
        hows = {how for data_class, how in redactions if data_class == redaction.data_class}
        assert redaction.how == ("label" if "label" in hows else "mask_last4")
    assert {r.data_class for r in together.redactions} == {name for name, _ in redactions}
    for cap in ("output_tokens_max", "usd_nanos_per_1k_tokens_max"):
        caps = [getattr(each, cap) for each in alone if getattr(each, cap)]
        assert getattr(together, cap) == min(caps, default=0)


@laws
@given(policies)
def test_a_candidate_stays_exactly_if_no_rule_takes_it(owned: list[Owned]) -> None:
    """The table, read literally."""
    rules = [each for each in named(owned) if each.tenant != "globex"]

    def matches(rule: Rule | PolicyException, model: str) -> bool:
        return not rule.when or f'"{model}"' in rule.when

    def allows(each: Owned, denial: Owned, model: str) -> bool:
        rule = each.rule
        counts = (
            rule.expires == RUNNING
            if isinstance(rule, PolicyException)
            else (rule.allow and rule.mode == "enforce")
        )
        above = each.tenant == "" or f"{denial.tenant}/".startswith(f"{each.tenant}/")
        return counts and above and rule.priority > denial.rule.priority and matches(rule, model)

    def takes(each: Owned, model: str) -> bool:
        rule = each.rule
        if not isinstance(rule, Rule) or not matches(rule, model) or not _enforced_for_tenant(rule):
            return False
        if rule.deny is not None:
            return not any(allows(other, each, model) for other in rules)
        if rule.require:
            return f'"{model}"' not in rule.require
        if rule.cap_usd_per_1k_tokens:
            # A picodollar for one token is a nanodollar for a thousand.
            return PICOS[model] > float(rule.cap_usd_per_1k_tokens) * 1e9
        return False

    expected = tuple(name for name in NAMES if not any(takes(each, name) for each in rules))
    assert decide(rules).candidates == expected
