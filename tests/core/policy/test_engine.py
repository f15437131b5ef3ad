"""Facts in, one decision out: the table in engine.py, line by line."""

import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.limits import POLICY_TENANTS_MAX
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.decision import Decision, Redaction
from harmost.core.policy.engine import Candidate, Engine
from harmost.core.policy.expiry import LatestTime
from harmost.core.policy.facts import FactValue
from harmost.core.resources.kinds import (
    Metadata,
    PolicyException,
    PolicySpec,
    Redact,
    Rollout,
    Rule,
)

US = Candidate("us", {"model.name": "us", "model.region": "US"})
EU = Candidate("eu", {"model.name": "eu", "model.region": "EEA"})
REQUEST: Mapping[str, FactValue] = {
    "request.tenant": "acme/retail",
    "data.classes": ["pan", "personal"],
    "subject.region": "EEA",
}
NOW_S = 1_800_000_000
IN_EU = 'model.region == "EEA"'
BROKEN = 'labels["absent"] == "x"'


def engine(*rules: Rule, tenant: str = "") -> Engine:
    return compile_policies(
        [(Metadata(name="p", tenant=tenant), PolicySpec(rules=rules))], generation=7
    )


def decide(*rules: Rule, candidates: Sequence[Candidate] = (US, EU)) -> Decision:
    return engine(*rules).decide(REQUEST, candidates, now_s=NOW_S)


def named(decision: Decision) -> list[str]:
    return [hit.rule for hit in decision.hits]


def denied_by(decision: Decision) -> str:
    assert decision.denied_by is not None
    return decision.denied_by.rule


def test_without_rules_every_candidate_is_allowed_in_its_order() -> None:
    assert decide() == Decision(effect="allow", candidates=("us", "eu"), snapshot_generation=7)


def test_the_examples_of_the_architecture_decide() -> None:
    decision = decide(
        Rule(
            name="stays-in-eu",
            cites=("GDPR Art. 44",),
            when='"personal" in data.classes && subject.region == "EEA"',
            require='model.region in ["EEA"]',
        ),
        Rule(
            name="no-card-numbers",
            when='"pan" in data.classes',
            redact=Redact(classes=("pan",), with_="mask_last4"),
        ),
    )
    assert decision.candidates == ("eu",)
    assert decision.redactions == (Redaction(data_class="pan", how="mask_last4"),)
    assert named(decision) == ["stays-in-eu", "no-card-numbers"]
    (exclusion,) = decision.exclusions
    assert (exclusion.model, exclusion.hit.citations) == ("us", ("GDPR Art. 44",))


def test_a_deny_on_request_facts_denies_the_call() -> None:
    decision = decide(Rule(name="a", when='"pan" in data.classes', deny="no cards"))
    assert decision.effect == "deny"
    assert decision.denied_by is not None
    assert decision.denied_by.message == "no cards"
    assert (decision.candidates, decision.redactions, decision.output_tokens_max) == ((), (), 0)


def test_a_deny_on_candidate_facts_takes_out_the_candidate() -> None:
    decision = decide(Rule(name="a", when=f"!({IN_EU})", deny="not there"))
    assert (decision.effect, decision.candidates) == ("allow", ("eu",))
    assert [(each.model, each.hit.rule) for each in decision.exclusions] == [("us", "a")]


def test_the_rule_that_takes_the_last_candidate_denies() -> None:
    decision = decide(
        Rule(name="first", require=IN_EU),
        Rule(name="second", require=f"!({IN_EU})"),
        Rule(name="third", when="true", deny="x"),
    )
    assert denied_by(decision) == "second"
    assert [(each.model, each.hit.rule) for each in decision.exclusions] == [
        ("us", "first"),
        ("eu", "second"),
    ]
    assert named(decision) == ["first", "second", "third"]


def test_all_matching_rules_are_named_even_after_a_deny() -> None:
    decision = decide(
        Rule(name="a", deny="x"), Rule(name="b", deny="y"), Rule(name="c", when="false", deny="z")
    )
    assert named(decision) == ["a", "b"]
    assert denied_by(decision) == "a"


def test_an_allow_excepts_from_denies_of_lower_priority_only() -> None:
    allow = Rule(name="exception", allow=True, priority=5)
    assert decide(allow, Rule(name="a", deny="x", priority=4)).effect == "allow"
    assert denied_by(decide(allow, Rule(name="a", deny="x", priority=5))) == "a"
    assert denied_by(decide(allow, Rule(name="a", deny="x", priority=6))) == "a"


@pytest.mark.parametrize(
    ("allowing", "denying", "effect"),
    [
        ("", "acme", "allow"),
        ("acme", "acme", "allow"),
        ("acme", "acme/retail", "allow"),
        ("acme", "", "deny"),
        ("acme/retail", "acme", "deny"),
    ],
)
def test_an_allow_excepts_from_no_deny_of_a_tenant_above(
    allowing: str, denying: str, effect: str
) -> None:
    policies = [
        (
            Metadata(name="ours", tenant=allowing),
            PolicySpec(rules=(Rule(name="free", allow=True, priority=1_000),)),
        ),
        (
            Metadata(name="theirs", tenant=denying),
            PolicySpec(rules=(Rule(name="never", deny="x"),)),
        ),
    ]
    decision = compile_policies(policies, generation=1).decide(REQUEST, [EU], now_s=NOW_S)
    assert decision.effect == effect


def test_an_excepted_deny_is_still_named() -> None:
    decision = decide(Rule(name="a", deny="x"), Rule(name="b", allow=True, priority=1))
    assert named(decision) == ["b", "a"]
    assert decision.exclusions == ()


def test_an_allow_on_candidate_facts_excepts_only_those() -> None:
    decision = decide(
        Rule(name="a", when='"pan" in data.classes', deny="x"),
        Rule(name="b", when=IN_EU, allow=True, priority=1),
    )
    assert (decision.effect, decision.candidates) == ("allow", ("eu",))


def test_an_allow_does_not_except_from_require() -> None:
    decision = decide(
        Rule(name="a", require=IN_EU), Rule(name="b", allow=True, priority=1), candidates=[US]
    )
    assert denied_by(decision) == "a"


def test_an_allow_that_is_not_enforced_excepts_nothing() -> None:
    for mode in ("warn", "shadow"):
        allow = msgspec.structs.replace(Rule(name="b", allow=True, priority=1), mode=mode)
        assert decide(Rule(name="a", deny="x"), allow).effect == "deny"


def test_redactions_are_united_and_label_wins() -> None:
    pan = Rule(name="a", redact=Redact(classes=("pan",), with_="mask_last4"))
    both = Rule(name="b", redact=Redact(classes=("pan", "email"), with_="label"))
    expected = (
        Redaction(data_class="email", how="label"),
        Redaction(data_class="pan", how="label"),
    )
    assert decide(pan, both).redactions == expected
    assert decide(both, pan).redactions == expected


def test_the_tightest_cap_counts() -> None:
    caps = [Rule(name=f"cap{tokens}", cap_output_tokens=tokens) for tokens in (300, 100, 200)]
    assert decide(*caps).output_tokens_max == 100
    assert decide().output_tokens_max == 0


def test_redactions_and_caps_count_for_any_candidate_that_remains() -> None:
    rules = (
        Rule(name="a", when=f"!({IN_EU})", redact=Redact(classes=("pan",))),
        Rule(name="b", when=f"!({IN_EU})", cap_output_tokens=9),
    )
    both = decide(*rules)
    assert both.redactions
    assert both.output_tokens_max == 9
    only_eu = decide(*rules, Rule(name="c", require=IN_EU))
    assert only_eu.redactions == ()
    assert only_eu.output_tokens_max == 0


@pytest.mark.parametrize("mode", ["warn", "shadow"])
def test_what_is_not_enforced_is_named_and_has_no_effect(mode: str) -> None:
    rules = [
        Rule(name="deny", deny="x"),
        Rule(name="require", require=IN_EU),
        Rule(name="redact", redact=Redact(classes=("pan",))),
        Rule(name="cap", cap_output_tokens=1),
    ]
    decision = decide(*(msgspec.structs.replace(rule, mode=mode) for rule in rules))
    assert decision.effect == "allow"
    assert decision.candidates == ("us", "eu")
    assert (decision.exclusions, decision.redactions, decision.output_tokens_max) == ((), (), 0)
    assert named(decision) == ["deny", "require", "redact", "cap"]
    assert {hit.mode for hit in decision.hits} == {mode}


def test_a_require_that_is_not_enforced_is_named_only_where_it_would_take_one() -> None:
    rule = Rule(name="a", require=IN_EU, mode="shadow")
    assert named(decide(rule, candidates=[EU])) == []
    assert named(decide(rule, candidates=[EU, US])) == ["a"]


def test_a_condition_that_cannot_be_evaluated_restricts_and_says_so() -> None:
    decision = decide(Rule(name="a", when=BROKEN, deny="x"))
    assert denied_by(decision) == "a"
    assert decision.denied_by is not None
    assert "no such key" in decision.denied_by.error
    capped = decide(Rule(name="a", when=BROKEN, cap_output_tokens=5))
    assert capped.output_tokens_max == 5
    assert "no such key" in capped.hits[0].error
    assert decide(Rule(name="a", when=BROKEN, redact=Redact(classes=("pan",)))).redactions


def test_a_condition_that_cannot_be_evaluated_never_grants() -> None:
    rules = Rule(name="a", deny="x"), Rule(name="b", when=BROKEN, allow=True, priority=1)
    decision, traces = engine(*rules).explain(REQUEST, [EU], now_s=NOW_S)
    assert decision.effect == "deny"
    assert named(decision) == ["a"]
    assert [(trace.hit.rule, trace.matched) for trace in traces] == [("b", False), ("a", True)]
    assert "no such key" in traces[0].hit.error


def test_a_require_that_cannot_be_evaluated_is_not_met() -> None:
    decision = decide(Rule(name="a", require=f"{BROKEN} && {IN_EU}"))
    # For the American model the condition is false whatever the label is; for the other it is unknown.
    assert denied_by(decision) == "a"
    assert "no such key" in decision.exclusions[1].hit.error


def test_an_error_that_does_not_matter_is_none() -> None:
    assert decide(Rule(name="a", when=f"{BROKEN} && false", deny="x")).hits == ()


def test_a_fact_of_another_type_restricts() -> None:
    rule = Rule(name="a", when="input.tokens > 5", deny="x")
    decision = engine(rule).decide({"input.tokens": "many"}, [EU], now_s=NOW_S)
    assert decision.effect == "deny"
    assert decision.hits[0].error


def test_an_absent_fact_has_its_default() -> None:
    rules = (
        Rule(name="a", when='subject.region == "" && input.tokens == 0', cap_output_tokens=1),
        Rule(name="b", when="!channel.tls && size(data.classes) == 0", cap_output_tokens=2),
        Rule(name="c", when='model.region == ""', cap_output_tokens=3),
    )
    assert named(engine(*rules).decide({}, [Candidate("m", {})], now_s=NOW_S)) == ["a", "b", "c"]


def test_without_candidates_rules_about_the_call_decide_alone() -> None:
    rules = (
        Rule(name="a", when=IN_EU, deny="x"),
        Rule(name="b", require=IN_EU),
        Rule(name="c", cap_output_tokens=5),
    )
    decision = decide(*rules, candidates=[])
    assert (decision.effect, decision.output_tokens_max) == ("allow", 5)
    denied = decide(*rules, Rule(name="d", deny="x"), candidates=[])
    assert denied_by(denied) == "d"


def test_a_require_may_ask_about_the_call() -> None:
    rule = Rule(name="a", require="channel.tls")
    assert denied_by(decide(rule)) == "a"
    assert denied_by(decide(rule, candidates=[])) == "a"


@pytest.mark.parametrize(
    ("owner", "tenant", "binds"),
    [
        ("", "", True),
        ("", "acme", True),
        ("acme", "acme", True),
        ("acme", "acme/retail/support", True),
        ("acme/retail", "acme", False),
        ("acme", "acmeshop", False),
        ("acme", "", False),
        ("acme/retail", "acme/retailer", False),
    ],
)
def test_a_policy_binds_its_tenant_and_all_below(owner: str, tenant: str, binds: bool) -> None:
    bound = engine(Rule(name="a", deny="x"), tenant=owner)
    assert (bound.decide({"request.tenant": tenant}, [EU], now_s=NOW_S).effect == "deny") is binds
    _, traces = bound.explain({"request.tenant": tenant}, [EU], now_s=NOW_S)
    assert len(traces) == binds


def test_hostile_tenants_leave_nothing_behind() -> None:
    bound = engine(Rule(name="a", when="channel.tls", deny="x"), tenant="acme")
    for number in range(POLICY_TENANTS_MAX + 1_000):
        bound.decide({"request.tenant": f"acme/{number}"}, [], now_s=NOW_S)
    assert len(vars(bound)["_views"]) == 1_000


def test_explain_gives_the_decision_and_every_rule_in_order() -> None:
    rules = Rule(name="a", when="false", deny="x"), Rule(name="b", require=IN_EU, priority=1)
    decision, traces = engine(*rules).explain(REQUEST, [US, EU], now_s=NOW_S)
    assert decision == engine(*rules).decide(REQUEST, [US, EU], now_s=NOW_S)
    assert [(trace.hit.rule, trace.matched, trace.when) for trace in traces] == [
        ("b", True, ""),
        ("a", False, "false"),
    ]


PILOT = PolicyException(
    name="pilot",
    when=IN_EU,
    owner="ann",
    approver="bob",
    expires="2027-01-31T00:00:00Z",
    reason="pilot",
    priority=1,
)
ENDS_S = 1_801_353_600


def with_pilot() -> Engine:
    policy = PolicySpec(rules=(Rule(name="a", deny="x"),), exceptions=(PILOT,))
    return compile_policies([(Metadata(name="p"), policy)], generation=1)


def test_an_exception_counts_until_it_expires_and_then_is_not_asked() -> None:
    before = with_pilot().decide(REQUEST, [US, EU], now_s=ENDS_S - 1)
    assert (before.candidates, named(before)) == (("eu",), ["pilot", "a"])
    assert (before.hits[0].approver, before.hits[0].expires_s) == ("bob", ENDS_S)
    after = with_pilot().decide(REQUEST, [US, EU], now_s=ENDS_S)
    assert (denied_by(after), named(after)) == ("a", ["a"])
    _, traces = with_pilot().explain(REQUEST, [US, EU], now_s=ENDS_S)
    assert [trace.hit.rule for trace in traces] == ["a"]


def test_a_clock_set_back_revives_no_exception() -> None:
    pilot, latest = with_pilot(), LatestTime()
    effects = [
        pilot.decide(REQUEST, [EU], now_s=latest.at(clock_s)).effect
        for clock_s in (ENDS_S - 1, ENDS_S, ENDS_S - 1, 0)
    ]
    assert effects == ["allow", "deny", "deny", "deny"]


def priced(name: str, input_usd_picos: int, output_usd_picos: int) -> Candidate:
    return Candidate(
        name,
        {
            "model.name": name,
            "model.price_known": True,
            "model.input_usd_picos_per_token": input_usd_picos,
            "model.output_usd_picos_per_token": output_usd_picos,
        },
    )


CHEAP, DEAR = priced("cheap", 1_000_000, 3_000_000), priced("dear", 1_000_000, 3_000_001)
TOKENS: Mapping[str, FactValue] = {"input.tokens": 1_000, "output.tokens_max": 1_000}


def test_a_price_cap_takes_out_what_is_above_it_and_bounds_the_ceiling() -> None:
    # A thousand tokens in and out for $1 and $3 a million each: $0.002 for a thousand tokens.
    capped = engine(Rule(name="a", cap_usd_per_1k_tokens="0.002"))
    decision = capped.decide(TOKENS, [CHEAP, DEAR], now_s=0)
    assert decision.candidates == ("cheap",)
    assert decision.usd_nanos_per_1k_tokens_max == 2_000_000
    assert [(each.model, each.hit.effect) for each in decision.exclusions] == [
        ("dear", "cap_price")
    ]


def test_a_price_cap_takes_out_what_has_no_known_price() -> None:
    capped = engine(Rule(name="a", cap_usd_per_1k_tokens="1000"))
    assert denied_by(capped.decide(TOKENS, [US], now_s=0)) == "a"


def test_a_price_cap_fails_closed_where_the_sum_has_no_64_bits() -> None:
    capped = engine(Rule(name="a", cap_usd_per_1k_tokens="0.002"))
    decision = capped.decide({"input.tokens": 2**62}, [priced("m", 4, 4)], now_s=0)
    assert denied_by(decision) == "a"
    assert decision.exclusions[0].hit.error


def test_the_tightest_price_cap_counts_and_only_where_it_matches() -> None:
    rules = [
        Rule(name="a", cap_usd_per_1k_tokens="0.5"),
        Rule(name="b", cap_usd_per_1k_tokens="0.25"),
        Rule(name="c", cap_usd_per_1k_tokens="0.125", when='purpose == "x"'),
    ]
    assert (
        engine(*rules).decide(TOKENS, [CHEAP], now_s=0).usd_nanos_per_1k_tokens_max == 250_000_000
    )
    assert decide().usd_nanos_per_1k_tokens_max == 0


def test_a_price_cap_in_shadow_is_named_only_where_it_would_take_one() -> None:
    shadow = engine(Rule(name="a", cap_usd_per_1k_tokens="0.002", mode="shadow"))
    both = shadow.decide(TOKENS, [CHEAP, DEAR], now_s=0)
    assert (named(both), both.candidates) == (["a"], ("cheap", "dear"))
    assert both.usd_nanos_per_1k_tokens_max == 0
    assert named(shadow.decide(TOKENS, [CHEAP], now_s=0)) == []


def test_a_rollout_enforces_for_some_tenants_and_names_itself_for_the_others() -> None:
    rolled = engine(Rule(name="a", deny="x", rollout=Rollout(percent=50, otherwise="shadow")))
    effects: dict[str, str] = {}
    for number in range(40):
        decision = rolled.decide({"request.tenant": f"acme/{number}"}, [EU], now_s=0)
        effects[decision.effect] = decision.hits[0].mode
    assert effects == {"deny": "enforce", "allow": "shadow"}


# Random policies against the table, read literally.

NAMES = ("m0", "m1", "m2")


@st.composite
def random_rules(draw: st.DrawFn) -> list[tuple[Rule, frozenset[str], frozenset[str]]]:
    """Rules, the models where each matches, and those that meet its `require`."""
    rules: list[tuple[Rule, frozenset[str], frozenset[str]]] = []
    for index in range(draw(st.integers(0, 6))):
        where = draw(st.sampled_from(["", "false", *map(_among, _subsets())]))
        met = draw(st.sampled_from(_subsets()))
        effect = draw(
            st.sampled_from(
                [
                    {"deny": "no"},
                    {"allow": True},
                    {"require": _among(met)},
                    {"redact": Redact(classes=("pan",), with_="mask_last4")},
                    {"redact": Redact(classes=("email", "pan"))},
                    {"cap_output_tokens": draw(st.integers(1, 9))},
                ]
            )
        )
        rule = Rule(
            name=f"r{index}",
            when=where,
            priority=draw(st.integers(0, 2)),
            mode=draw(st.sampled_from(["enforce", "enforce", "enforce", "shadow"])),
            **effect,
        )
        matching = [name for name in NAMES if where == "" or f'"{name}"' in where]
        rules.append((rule, frozenset(matching), met))
    return rules


def _subsets() -> list[frozenset[str]]:
    return [frozenset(n for i, n in enumerate(NAMES) if bits >> i & 1) for bits in range(8)]


def _among(names: frozenset[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in sorted(names))
    return f"model.name in [{listed}]"


def oracle(rules: list[tuple[Rule, frozenset[str], frozenset[str]]]) -> tuple[object, ...]:
    """Effect, candidates, redactions, cap: the table as sentences."""
    enforced = [each for each in rules if each[0].mode == "enforce"]

    def excepted(model: str, priority: int) -> bool:
        return any(r.allow and model in at and r.priority > priority for r, at, _ in enforced)

    def stays(model: str) -> bool:
        for rule, matching, met in enforced:
            if model not in matching:
                continue
            if rule.deny is not None and not excepted(model, rule.priority):
                return False
            if rule.require and model not in met:
                return False
        return True

    remaining = tuple(name for name in NAMES if stays(name))
    counting = [rule for rule, matching, _ in enforced if matching.intersection(remaining)]
    hows: dict[str, set[str]] = {}
    for rule in counting:
        for data_class in rule.redact.classes if rule.redact else ():
            assert rule.redact is not None
            hows.setdefault(data_class, set()).add(rule.redact.with_)
    redactions = {name: "label" if "label" in how else "mask_last4" for name, how in hows.items()}
    caps = [rule.cap_output_tokens for rule in counting if rule.cap_output_tokens]
    return "allow" if remaining else "deny", remaining, redactions, min(caps, default=0)


@settings(max_examples=150, deadline=None)
@given(rules=random_rules(), seed=st.integers(0, 1000))
def test_random_policies_decide_as_the_table_says_in_any_order(
    rules: list[tuple[Rule, frozenset[str], frozenset[str]]], seed: int
) -> None:
    candidates = [Candidate(name, {"model.name": name}) for name in NAMES]
    shuffled = [rule for rule, _, _ in rules]
    random.Random(seed).shuffle(shuffled)
    for ordered in ([rule for rule, _, _ in rules], shuffled):
        decision = engine(*ordered).decide({}, candidates, now_s=NOW_S)
        redactions = {each.data_class: each.how for each in decision.redactions}
        assert oracle(rules) == (
            decision.effect,
            decision.candidates,
            redactions,
            decision.output_tokens_max,
        )
        taken = {exclusion.model for exclusion in decision.exclusions}
        assert taken.isdisjoint(decision.candidates)
        assert taken.union(decision.candidates) == set(NAMES)
        assert (decision.denied_by is None) == (decision.effect == "allow")
