"""What decided is told with its facts, and a change that is offered does what it says."""

from collections.abc import Mapping, Sequence

from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.policy.authoring.explain import AtomTrace, Explainer, Explanation, FactChange
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, FactValue, checked_facts
from harmost.core.resources.kinds import Metadata, PolicySpec, Rule

US = Candidate("us", {"model.name": "us", "model.region": "US"})
EU = Candidate("eu", {"model.name": "eu", "model.region": "EEA"})
IN_EU = 'model.region in ["EEA"]'


def policies(*rules: Rule) -> list[tuple[Metadata, PolicySpec]]:
    return [(Metadata(name="p"), PolicySpec(rules=rules))]


def explain(
    rules: Sequence[Rule],
    given_facts: Mapping[str, FactValue] = {},
    candidates: Sequence[Candidate] = (US, EU),
) -> Explanation:
    engine = compile_policies(policies(*rules), generation=1)
    request = checked_facts(given_facts, scope=FactScope.REQUEST)
    return Explainer(policies(*rules), engine).explain(request, candidates, now_s=0)


def atoms_of_only_rule(*args: object) -> tuple[AtomTrace, ...]:
    (rule,) = explain(*args).rules  # type: ignore[arg-type]
    return rule.atoms


def test_a_near_miss_names_the_part_that_failed_and_its_fact() -> None:
    rule = Rule(name="a", when='"pan" in data.classes && subject.region == "EEA"', deny="x")
    (atom,) = atoms_of_only_rule([rule], {"data.classes": ["pan"], "subject.region": "US"})
    assert (atom.text, atom.gave) == ('subject.region == "EEA"', "false")
    assert atom.facts == {"subject.region": "US"}


def test_all_parts_that_failed_are_named() -> None:
    rule = Rule(name="a", when='channel.tls && purpose == "x" && input.tokens >= 0', deny="x")
    assert [atom.text for atom in atoms_of_only_rule([rule])] == ["channel.tls", 'purpose == "x"']


def test_a_part_that_cannot_be_evaluated_says_why() -> None:
    rule = Rule(name="a", when='labels["env"] == "x"', deny="x")
    (atom,) = atoms_of_only_rule([rule], {"labels": {"team": "b"}})
    assert atom.gave == "error"
    assert atom.facts == {"labels": {"team": "b"}}
    assert "env" in atom.error


def test_a_rule_about_models_is_told_for_each_model_that_matters() -> None:
    rule = Rule(name="a", when=f"channel.tls && !({IN_EU})", deny="x")
    (explained,) = explain([rule], {"channel.tls": True}).rules
    assert explained.matched
    assert [(atom.text, atom.model) for atom in explained.atoms] == [
        ("channel.tls", ""),
        (IN_EU, "us"),
    ]
    (missed,) = explain([rule], {"channel.tls": True}, [EU]).rules
    assert [(atom.text, atom.gave, atom.model) for atom in missed.atoms] == [(IN_EU, "true", "eu")]


def test_a_require_tells_why_each_candidate_went() -> None:
    (rule,) = explain([Rule(name="a", require=IN_EU)]).rules
    (atom,) = rule.atoms
    assert (atom.text, atom.gave, atom.model) == (IN_EU, "false", "us")
    assert atom.facts == {"model.region": "US"}
    assert FactChange(fact="model.region", was="US", would_be="EEA", model="us") in rule.flips


def test_a_near_miss_tells_the_one_fact_that_would_turn_it() -> None:
    rule = Rule(name="a", when='input.tokens > 100 && purpose == ""', deny="x")
    told = explain([rule], {"input.tokens": 80})
    assert told.rules[0].flips[0] == FactChange(fact="input.tokens", was=80, would_be=101)
    assert told.decision.effect == "allow"
    assert told.flips[0] == told.rules[0].flips[0]


def test_where_two_facts_are_needed_no_single_change_is_told() -> None:
    told = explain([Rule(name="a", when='channel.tls && purpose == "x"', deny="x")])
    assert told.rules[0].flips == ()
    assert told.flips == ()


def test_a_class_is_added_with_what_it_implies_and_a_key_is_set_or_removed() -> None:
    (rule,) = explain([Rule(name="a", when='"pan" in data.classes', deny="x")]).rules
    assert rule.flips[0].would_be == ["cardholder", "pan", "personal"]
    keyed = Rule(name="a", when='"env" in labels && labels["env"] == "x"', deny="x")
    (rule,) = explain([keyed], {"labels": {"team": "b"}}).rules
    assert rule.flips[0].would_be == {"team": "b", "env": "x"}
    (rule,) = explain([keyed], {"labels": {"team": "b", "env": "x"}}).rules
    assert {"team": "b"} in [flip.would_be for flip in rule.flips]


def test_the_tenant_is_never_what_should_change() -> None:
    (rule,) = explain([Rule(name="a", when='request.tenant == "acme"', deny="x")]).rules
    assert rule.flips == ()


PARTS = st.sampled_from(
    [
        "channel.tls",
        'purpose == "a"',
        'purpose in ["a", "b"]',
        "input.tokens > 5",
        'labels["env"] == "x"',
        '"pan" in data.classes',
        'model.region == "US"',
    ]
)
conditions = st.recursive(
    PARTS,
    lambda below: st.one_of(
        st.tuples(below, below).map(lambda both: f"({both[0]} && {both[1]})"),
        st.tuples(below, below).map(lambda both: f"({both[0]} || {both[1]})"),
        below.map(lambda one: f"!({one})"),
    ),
    max_leaves=5,
)
effects = st.sampled_from(
    [{"deny": "x"}, {"allow": True, "priority": 1}, {"require": IN_EU}, {"cap_output_tokens": 5}]
)
rule_sets = st.lists(st.tuples(conditions, effects), min_size=1, max_size=3).map(
    lambda many: [
        Rule(name=f"r{index}", when=when, **effect)  # type: ignore[arg-type]
        for index, (when, effect) in enumerate(many)
    ]
)
calls = st.fixed_dictionaries(
    {
        "channel.tls": st.booleans(),
        "purpose": st.sampled_from(["", "a", "b"]),
        "input.tokens": st.sampled_from([0, 6]),
        "labels": st.sampled_from([{}, {"env": "x"}, {"env": "y"}]),
        "data.classes": st.sampled_from([[], ["pan"]]),
    }
)


@settings(max_examples=effort(30, ci=1_000, nightly=30_000), deadline=None)
@given(rule_sets, calls)
def test_every_change_that_is_told_does_what_it_says(
    rules: list[Rule], call: dict[str, FactValue]
) -> None:
    told = explain(rules, call)
    request = checked_facts(call, scope=FactScope.REQUEST)
    engine = compile_policies(policies(*rules), generation=1)
    assert told.decision == engine.decide(request, [US, EU], now_s=0)
    for flip in told.flips:
        changed = {**request, flip.fact: flip.would_be}
        assert engine.decide(changed, [US, EU], now_s=0).effect != told.decision.effect
    for rule, explained in zip(
        sorted(rules, key=lambda each: -each.priority), told.rules, strict=True
    ):
        for flip in explained.flips:
            if flip.model or explained.require:
                continue  # of one candidate; the others keep the rule as it is
            again = explain(rules, {**call, flip.fact: flip.would_be})
            (same,) = [each for each in again.rules if each.hit.rule == rule.name]
            if "model." not in rule.when:
                assert same.matched != explained.matched
