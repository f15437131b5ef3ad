"""What the linter finds, what it does not, and that every witness is one."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.policy.authoring.lint import lint
from harmost.core.policy.authoring.lint_rule import KEYS_MAX
from harmost.core.policy.authoring.lint_run import Finding, LintReport
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import Candidate
from harmost.core.policy.rules import PoliciesRefused
from harmost.core.resources.kinds import (
    Metadata,
    PolicyException,
    PolicySpec,
    Redact,
    Rollout,
    Rule,
)

NOW_S = 1_800_000_000  # 2027-01-15T08:00:00Z
DAY_S = 86_400


def report(
    *rules: Rule, exceptions: Sequence[PolicyException] = (), tenant: str = "acme", **options: Any
) -> LintReport:
    """Of one policy whose rules all have owner and citation."""
    sound = tuple(msgspec.structs.replace(rule, cites=rule.cites or ("law",)) for rule in rules)
    policy = PolicySpec(rules=sound, exceptions=tuple(exceptions), owner="ann")
    said = {"now_s": NOW_S, "expires_within_s": 14 * DAY_S} | options
    return lint([(Metadata(name="p", tenant=tenant), policy)], **said)


def found(*rules: Rule, **options: Any) -> list[tuple[str, str]]:
    """Kind and rule of each finding."""
    return [(each.kind, each.rule) for each in report(*rules, **options).findings]


def the(kind: str, *rules: Rule, **options: Any) -> Finding:
    (finding,) = [each for each in report(*rules, **options).findings if each.kind == kind]
    return finding


def pilot(**said: Any) -> PolicyException:
    fields = {
        "name": "pilot",
        "when": 'purpose == "pilot"',
        "owner": "ann",
        "approver": "bob",
        "expires": "2028-01-01T00:00:00Z",
        "reason": "pilot",
        "priority": 1,
        "cites": ("law",),
    }
    return PolicyException(**(fields | said))


def test_rules_that_are_in_order_have_no_findings() -> None:
    clean = report(
        Rule(
            name="stays",
            when='"personal" in data.classes && subject.region == "EEA"',
            require='model.region in ["EEA"]',
        ),
        Rule(name="masked", when='"pan" in data.classes', redact=Redact(classes=("pan",))),
        Rule(name="social", when='purpose == "social_scoring"', deny="no"),
        Rule(name="dear", when='"env" in labels && labels["env"] == "test"', cap_output_tokens=9),
        exceptions=[pilot(when='purpose == "social_scoring" && request.profile == "study"')],
    )
    assert clean.findings == ()
    assert clean.undecided == ()
    assert clean.rules == 5


@pytest.mark.parametrize(
    "when",
    [
        'purpose == "a" && purpose == "b"',
        "input.tokens > 5 && input.tokens < 5",
        '"pan" in data.classes && !("cardholder" in data.classes)',
        "1 == 2",
        'request.tenant == "globex"',  # not at or below the policy's tenant
    ],
)
def test_a_condition_that_no_facts_meet_is_told(when: str) -> None:
    assert found(Rule(name="a", when=when, deny="x")) == [("never-matches", "a")]


def test_a_condition_that_only_fails_is_told_as_such() -> None:
    finding = the("never-matches", Rule(name="a", when='labels["x"] == "a" && false', deny="x"))
    assert finding.message.startswith("no facts make it true: correct")
    finding = the("never-matches", Rule(name="a", when="1 / 0 == 1", deny="x"))
    assert "only where it cannot be evaluated" in finding.message


def test_a_condition_that_all_facts_meet_is_told() -> None:
    assert found(Rule(name="a", when='purpose == "a" || purpose != "a"', deny="x")) == [
        ("always-matches", "a")
    ]
    assert found(Rule(name="a", deny="x")) == []


def test_a_require_that_no_model_meets_is_told_in_its_field() -> None:
    rule = Rule(name="a", require='model.region == "EEA" && model.region == "US"')
    finding = the("never-met", rule)
    assert finding.path == ("rules", 0, "require")


def test_a_rule_that_another_does_anyway_is_shadowed_by_it() -> None:
    narrow = Rule(name="narrow", when='purpose == "a" && channel.tls', deny="x")
    wide = Rule(name="wide", when='purpose in ["a", "b"]', deny="x")
    assert the("shadowed", narrow, wide).rule == "narrow"
    assert the("shadowed", wide, narrow).others == ("p/wide",)


def test_a_rule_that_several_do_together_is_shadowed_by_them() -> None:
    one = Rule(name="one", when="input.tokens < 10", deny="x")
    other = Rule(name="other", when="input.tokens > 5", deny="x")
    both = Rule(name="both", when="input.tokens > 0", deny="x")
    finding = the("shadowed", one, other, both)
    assert (finding.rule, finding.others) == ("both", ("p/one", "p/other"))


def test_of_two_rules_alike_only_the_later_is_told() -> None:
    a = Rule(name="a", when="channel.tls", deny="x")
    assert found(a, msgspec.structs.replace(a, name="b")) == [("shadowed", "b")]


@pytest.mark.parametrize(
    "rules",
    [
        # An exception may lift the wider deny and not the narrower.
        (
            Rule(name="narrow", when='purpose == "a"', deny="x", priority=2),
            Rule(name="wide", deny="x"),
        ),
        (Rule(name="a", deny="x", mode="shadow"), Rule(name="b", when="channel.tls", deny="x")),
        (
            Rule(name="a", deny="x", rollout=Rollout(percent=50)),
            Rule(name="b", when="channel.tls", deny="x"),
        ),
        (
            Rule(name="a", cap_output_tokens=9),
            Rule(name="b", when="channel.tls", cap_output_tokens=8),
        ),
        (
            Rule(name="a", redact=Redact(classes=("pan",), with_="mask_last4")),
            Rule(name="b", when="channel.tls", redact=Redact(classes=("pan", "email"))),
        ),
        (
            Rule(name="a", require='model.region in ["EEA", "UK"]'),
            Rule(name="b", require='model.region in ["UK", "US"]'),
        ),
    ],
)
def test_a_rule_that_can_change_something_is_not_shadowed(rules: tuple[Rule, ...]) -> None:
    exceptions = [pilot(when="decision.significant")]
    told = [rule for kind, rule in found(*rules, exceptions=exceptions) if kind == "shadowed"]
    assert set(told) <= {"pilot"}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"cap_output_tokens": 8}, {"cap_output_tokens": 8}),
        ({"cap_usd_per_1k_tokens": "0.1"}, {"cap_usd_per_1k_tokens": "0.2"}),
        ({"redact": Redact(classes=("pan",))}, {"redact": Redact(classes=("pan",))}),
        ({"require": 'model.region in ["EEA"]'}, {"require": 'model.region in ["EEA", "UK"]'}),
        ({"require": 'model.region in ["EEA"]'}, {"deny": "x", "when": 'model.region == "US"'}),
    ],
)
def test_each_effect_can_be_shadowed(wide: dict[str, Any], narrow: dict[str, Any]) -> None:
    rules = Rule(name="wide", **wide), Rule(name="narrow", **({"when": "channel.tls"} | narrow))
    assert ("shadowed", "narrow") in found(*rules)


def test_a_shadow_of_another_line_of_tenants_is_none() -> None:
    policies = [
        (Metadata(name=tenant, tenant=tenant), PolicySpec(rules=(Rule(name="a", deny="x"),)))
        for tenant in ("acme/retail", "globex")
    ]
    said = lint(policies, now_s=NOW_S, expires_within_s=0)
    assert "shadowed" not in {each.kind for each in said.findings}
    above = (Metadata(name="acme", tenant="acme"), PolicySpec(rules=(Rule(name="a", deny="x"),)))
    shadowed = [
        each
        for each in lint([*policies, above], now_s=NOW_S, expires_within_s=0).findings
        if each.kind == "shadowed"
    ]
    assert [(each.policy, each.others) for each in shadowed] == [("acme/retail", ("acme/a",))]


def test_a_rule_of_a_tenant_below_does_not_do_what_one_above_does() -> None:
    here = Rule(name="a", when='request.tenant in ["acme/retail", "acme/x"]', deny="x")
    policies = [
        (Metadata(name="above", tenant="acme"), PolicySpec(rules=(here,))),
        (
            Metadata(name="below", tenant="acme/retail"),
            PolicySpec(rules=(Rule(name="b", deny="x"),)),
        ),
    ]
    said = lint(policies, now_s=NOW_S, expires_within_s=0)
    assert "shadowed" not in {each.kind for each in said.findings if each.policy == "above"}


def test_an_allow_that_a_deny_overrules_is_a_conflict_with_a_witness() -> None:
    deny = Rule(name="deny", when='purpose in ["a", "pilot"]', deny="x", priority=1)
    finding = the("conflict", deny, exceptions=[pilot()])
    assert (finding.rule, finding.others) == ("pilot", ("p/deny",))
    assert finding.witness is not None
    assert finding.witness.request == {"request.tenant": "acme", "purpose": "pilot"}
    assert "priority 1 is not below 1" in finding.message


def test_an_allow_that_lifts_nothing_is_told() -> None:
    other = Rule(name="deny", when='purpose == "other"', deny="x")
    assert found(other, exceptions=[pilot()]) == [("shadowed", "pilot")]


def test_two_requires_that_no_model_meets_together_conflict() -> None:
    finding = the(
        "conflict",
        Rule(name="a", when='purpose == "x"', require='model.region in ["EEA"]'),
        Rule(name="b", when="channel.tls", require='model.region in ["US"]'),
    )
    assert finding.witness is not None
    assert finding.witness.request == {
        "request.tenant": "acme",
        "purpose": "x",
        "channel.tls": True,
    }
    assert (
        found(
            Rule(name="a", when='purpose == "x"', require='model.region in ["EEA"]'),
            Rule(name="b", when='purpose == "y"', require='model.region in ["US"]'),
        )
        == []
    )


def test_two_ways_to_redact_one_class_conflict() -> None:
    rules = (
        Rule(name="a", when="channel.tls", redact=Redact(classes=("pan",), with_="mask_last4")),
        Rule(name="b", when='"pan" in data.classes', redact=Redact(classes=("pan",))),
    )
    assert the("conflict", *rules).others == ("p/b",)


@pytest.mark.parametrize(
    ("when", "part"),
    [
        ('"pan" in data.classes && "personal" in data.classes', '"personal" in data.classes'),
        ('purpose.startsWith("ab") && purpose.startsWith("a")', 'purpose.startsWith("a")'),
        ("input.tokens > 5 && input.tokens > 3", "input.tokens > 3"),
        ('channel.tls || (channel.tls && purpose == "a")', 'purpose == "a"'),
    ],
)
def test_a_part_that_changes_nothing_is_redundant(when: str, part: str) -> None:
    assert f"`{part}`" in the("redundant", Rule(name="a", when=when, deny="x")).message


def test_a_key_asked_for_without_a_guard_is_told_with_a_call_that_lacks_it() -> None:
    finding = the("unguarded", Rule(name="a", when='labels["env"] == "prod"', deny="x"))
    assert finding.witness is not None
    assert finding.witness.request["labels"] == {}
    assert '`"env" in labels`' in finding.message
    assert found(Rule(name="a", when='has(labels.env) && labels.env == "prod"', deny="x")) == []


def test_keys_beyond_the_bound_are_left_open() -> None:
    when = " && ".join(f'(labels["j{n}"] == "a" || labels["k{n}"] == "b")' for n in range(40))
    said = report(Rule(name="a", when=when, deny="x"))
    assert len([each for each in said.findings if each.kind == "unguarded"]) == KEYS_MAX
    assert ("unguarded", "a") in [(each.kind, each.rule) for each in said.undecided]


def test_a_require_that_admits_regions_it_does_not_name_is_told() -> None:
    open_ = Rule(name="a", require='model.region != "US"')
    finding = the("open-regions", open_)
    assert finding.witness is not None
    assert finding.witness.candidate == {"model.region": "EEA"}
    listed = '!(model.region in ["US", "CA"])'
    assert found(Rule(name="a", require=listed)) == [("open-regions", "a")]
    assert found(Rule(name="a", require='model.region in ["EEA", "UK"]')) == []
    assert found(Rule(name="a", when='model.region == "US"', deny="x")) == []


def test_a_region_of_no_taxonomy_is_told() -> None:
    assert found(Rule(name="a", require='model.region in ["EU"]')) == [("unknown-region", "a")]
    assert found(Rule(name="a", when='subject.region == "Germany"', deny="x")) == [
        ("unknown-region", "a")
    ]
    assert found(Rule(name="a", when='subject.region == ""', deny="x")) == []


def test_a_rule_without_owner_or_citation_is_told() -> None:
    policy = PolicySpec(
        rules=(
            Rule(name="a", deny="x"),
            Rule(name="b", owner="ann", when="channel.tls", deny="x", cites=("law",)),
        )
    )
    kinds = [
        (each.kind, each.rule)
        for each in lint([(Metadata(name="p"), policy)], now_s=0, expires_within_s=0).findings
    ]
    assert ("no-owner", "a") in kinds
    assert ("no-citation", "a") in kinds
    assert ("no-owner", "b") not in kinds


def test_exceptions_near_their_end_and_beyond_are_told() -> None:
    deny = Rule(name="deny", when='purpose == "pilot"', deny="x")
    soon = pilot(expires="2027-01-20T00:00:00Z")
    assert the("expires-soon", deny, exceptions=[soon]).message == "it expires in 4 days"
    over = pilot(expires="2027-01-15T07:59:59Z")
    assert the("expired", deny, exceptions=[over]).path == ("exceptions", 0, "expires")
    assert found(deny, exceptions=[pilot()]) == []


def test_an_allow_for_good_is_noted() -> None:
    rules = (
        Rule(name="deny", when='purpose == "a"', deny="x"),
        Rule(name="allow", when='purpose == "a" && channel.tls', allow=True, priority=1),
    )
    finding = the("standing-allow", *rules)
    assert (finding.severity, finding.rule) == ("note", "allow")


def test_what_cannot_be_decided_is_said_and_not_guessed() -> None:
    said = report(Rule(name="a", when='model.name.matches("^x.*y$")', deny="x"))
    assert said.findings == ()
    assert ("never-matches", "a") in [(each.kind, each.rule) for each in said.undecided]


def test_a_linter_out_of_steps_says_so() -> None:
    said = report(Rule(name="a", when='purpose == "a" && purpose == "b"', deny="x"), steps_max=0)
    assert said.findings == ()
    assert "steps are used up" in said.undecided[0].why


def test_policies_that_do_not_compile_are_refused_as_ever() -> None:
    with pytest.raises(PoliciesRefused):
        report(Rule(name="a", when="purpos == 1", deny="x"))


# Random rule sets: what is said to change nothing changes nothing, what is shown is so.

CONDITIONS = st.sampled_from(
    [
        "",
        "channel.tls",
        "!channel.tls",
        'purpose == "a"',
        'purpose in ["a", "b"]',
        'purpose != "a"',
        "input.tokens > 5",
        "input.tokens > 3",
        'channel.tls && purpose == "a"',
        'labels["env"] == "x"',
        'model.region == "US"',
        'model.region in ["EEA", "UK"]',
    ]
)
EFFECTS: list[dict[str, Any]] = [
    {"deny": "x"},
    {"allow": True},
    {"require": 'model.region in ["EEA"]'},
    {"require": 'model.region in ["EEA", "US"]'},
    {"cap_output_tokens": 5},
    {"cap_output_tokens": 9},
    {"redact": Redact(classes=("pan",))},
    {"redact": Redact(classes=("pan",), with_="mask_last4")},
]
rule_sets = st.lists(
    st.builds(
        lambda when, effect, priority: Rule(name="", when=when, priority=priority, **effect),
        CONDITIONS,
        st.sampled_from(EFFECTS),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=5,
).map(lambda rules: [msgspec.structs.replace(r, name=f"r{i}") for i, r in enumerate(rules)])
CALLS = [
    {
        "request.tenant": "acme",
        "purpose": purpose,
        "input.tokens": tokens,
        "channel.tls": tls,
        "labels": labels,
    }
    for purpose in ("a", "b", "c")
    for tokens in (0, 4, 6)
    for tls in (True, False)
    for labels in ({}, {"env": "x"}, {"env": "y"})
]
MODELS = [Candidate(region, {"model.region": region}) for region in ("EEA", "UK", "US", "JP")]


def outcomes(rules: Sequence[Rule]) -> list[tuple[object, ...]]:
    engine = compile_policies(
        [(Metadata(name="p", tenant="acme"), PolicySpec(rules=tuple(rules)))], generation=1
    )

    def outcome(decision: Decision) -> tuple[object, ...]:
        return decision.candidates, decision.redactions, decision.output_tokens_max

    return [outcome(engine.decide(call, MODELS, now_s=NOW_S)) for call in CALLS]


@settings(max_examples=effort(40, ci=400, nightly=20_000), deadline=None)
@given(rule_sets)
def test_a_shadowed_rule_changes_no_decision(rules: list[Rule]) -> None:
    """Told one by one: each goes, and what is left decides as before."""
    said = report(*rules)
    before = outcomes(rules)
    left = list(rules)
    for finding in said.findings:
        if finding.kind == "shadowed" and finding.others:
            left = [rule for rule in left if rule.name != finding.rule]
    assert outcomes(left) == before
    for finding in said.findings:
        if finding.kind == "shadowed" and not finding.others:
            assert outcomes([rule for rule in rules if rule.name != finding.rule]) == before


@settings(max_examples=effort(40, ci=400, nightly=20_000), deadline=None)
@given(rule_sets)
def test_a_witness_makes_every_rule_that_it_names_match(rules: list[Rule]) -> None:
    engine = compile_policies(
        [(Metadata(name="p", tenant="acme"), PolicySpec(rules=tuple(rules)))], generation=1
    )
    for finding in report(*rules).findings:
        if finding.witness is None:
            continue
        _, traces = engine.explain(
            finding.witness.request, [Candidate("m", finding.witness.candidate)], now_s=NOW_S
        )
        # An allow that cannot be evaluated does not match: that is what is shown of it.
        matched = {f"p/{trace.hit.rule}" for trace in traces if trace.matched or trace.hit.error}
        assert {f"p/{finding.rule}", *finding.others} <= matched
