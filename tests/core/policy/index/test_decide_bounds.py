"""Decisions at and beyond the bounds: many rules, many candidates, many values, many tenants."""

import pytest

from harmost.core.limits import CANDIDATES_MAX, POLICY_VALUES_MAX, RULES_MAX
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.engine import Candidate, Engine
from harmost.core.policy.facts import FactValue
from harmost.core.policy.rules import PoliciesRefused
from harmost.core.resources.kinds import Metadata, PolicySpec, Rule


def engine(*rules: Rule, tenant: str = "") -> Engine:
    return compile_policies(
        [(Metadata(name="p", tenant=tenant), PolicySpec(rules=rules))], generation=1
    )


def same_both_ways(
    ours: Engine, request: dict[str, FactValue], models: list[Candidate]
) -> tuple[str, ...]:
    decision = ours.decide(request, models, now_s=0)
    assert decision == ours.explain(request, models, now_s=0)[0]
    return tuple(hit.rule for hit in decision.hits)


def models(count: int) -> list[Candidate]:
    return [
        Candidate(f"m{at}", {"model.name": f"m{at}", "model.context_tokens_max": at})
        for at in range(count)
    ]


def test_a_hundred_thousand_rules_are_refused_by_their_number() -> None:
    rules = tuple(Rule(name=f"r{at}", deny="x") for at in range(100_000))
    with pytest.raises(PoliciesRefused, match="1 problems") as caught:
        engine(*rules)
    assert f"there are 100000 rules, more than {RULES_MAX}" in caught.value.errors[0].message


@pytest.mark.parametrize("count", [CANDIDATES_MAX - 1, CANDIDATES_MAX, CANDIDATES_MAX + 1])
def test_as_many_candidates_as_a_call_may_have_and_one_more(count: int) -> None:
    ours = engine(
        Rule(name="last", when=f'model.name == "m{count - 1}"', deny="x"),
        Rule(name="odd", require="model.context_tokens_max % 2 == 0"),
        Rule(name="all", require="input.tokens < 9 || model.context_tokens_max > input.tokens"),
    )
    assert same_both_ways(ours, {}, models(count)) == ("last", "odd", "all")
    decision = ours.decide({"input.tokens": 9}, models(count), now_s=0)
    assert decision.candidates == tuple(f"m{at}" for at in range(10, count - 1, 2))
    assert [each.model for each in decision.exclusions][-1] == f"m{count - 1}"


def test_no_more_candidates_than_the_bound_are_prepared() -> None:
    with pytest.raises(ValueError, match="more than 64: give fewer"):
        engine().prepare(models(CANDIDATES_MAX + 1))


def test_rules_of_which_none_can_be_indexed_decide_as_well() -> None:
    rules = [
        Rule(name=f"r{at}", when=f"input.tokens * {at + 1} > output.tokens_max", deny="x")
        for at in range(2_000)
    ]
    ours = engine(*rules)
    request: dict[str, FactValue] = {"input.tokens": 1, "output.tokens_max": 1_500}
    assert same_both_ways(ours, request, []) == tuple(f"r{at}" for at in range(1_500, 2_000))
    crossed = [
        Rule(name=f"c{at}", when=f"input.tokens + {at} < model.context_tokens_max", deny="x")
        for at in range(200)
    ]
    assert same_both_ways(engine(*crossed), {"input.tokens": 1}, models(10)) == tuple(
        f"c{at}" for at in range(8)
    )


def test_ten_thousand_values_of_a_fact_that_is_asked_for_its_beginning() -> None:
    ours = engine(Rule(name="test", when='request.end_user_id.startsWith("7")', deny="x"))
    assert POLICY_VALUES_MAX < 10_000
    for number in range(10_000):
        decision = ours.decide({"request.end_user_id": str(number)}, [], now_s=0)
        assert (decision.effect == "deny") is str(number).startswith("7")


def test_a_rule_whose_alternatives_bind_different_tenants_is_named_once() -> None:
    ours = engine(
        Rule(
            name="a",
            when='request.tenant == "acme" && model.name == "m0"'
            ' || request.tenant == "other" || model.name == "m1"',
            deny="x",
        )
    )
    for tenant, left in (("acme", ("m2",)), ("other", ()), ("third", ("m0", "m2"))):
        request: dict[str, FactValue] = {"request.tenant": tenant}
        assert same_both_ways(ours, request, models(3)) == ("a",)
        assert ours.decide(request, models(3), now_s=0).candidates == left


def test_a_rule_binds_no_tenant_outside_its_own_though_it_names_it() -> None:
    ours = engine(Rule(name="a", when='request.tenant == "other"', deny="x"), tenant="acme")
    assert same_both_ways(ours, {"request.tenant": "other"}, []) == ()


@pytest.mark.parametrize(
    "request_facts",
    [
        {"request.tenant": 5},
        {"input.tokens": "many"},
        {"labels": ["env"]},
        {"data.classes": [1]},
        {"data.classes": "pan"},
        {"output.tokens_max": 2**70},
    ],
)
def test_a_fact_of_another_type_restricts_and_never_grants(
    request_facts: dict[str, FactValue],
) -> None:
    conditions = (
        'request.tenant == "acme"',
        "input.tokens < 0",
        '"env" in labels',
        '"pan" in data.classes',
        "output.tokens_max - 1 < input.tokens",
    )
    ours = engine(
        *(Rule(name=f"d{at}", when=when, deny="x") for at, when in enumerate(conditions)),
        *(Rule(name=f"a{at}", when=when, allow=True) for at, when in enumerate(conditions)),
    )
    hits = same_both_ways(ours, request_facts, [])
    assert [name for name in hits if name.startswith("d")]
    assert "another type" in ours.decide(request_facts, [], now_s=0).hits[0].error


def test_a_contradiction_about_an_entry_matches_only_where_there_is_an_error() -> None:
    ours = engine(Rule(name="a", when='!("env" in labels) && labels["env"] == "x"', deny="x"))
    assert same_both_ways(ours, {"labels": {"env": "x"}}, []) == ()
    assert same_both_ways(ours, {"labels": {}}, []) == ("a",)


@pytest.mark.parametrize("condition", ["10 / input.tokens > 1", "!(10 / input.tokens > 1)"])
def test_a_condition_that_is_run_and_errs_restricts_and_never_grants(condition: str) -> None:
    ours = engine(
        Rule(name="deny", when=condition, deny="x"), Rule(name="allow", when=condition, allow=True)
    )
    assert same_both_ways(ours, {"input.tokens": 0}, models(2)) == ("deny",)


def test_near_misses_are_told_by_the_conditions_that_failed() -> None:
    when = 'input.tokens > 5 && "pan" in data.classes && model.name == "m1"'
    ours = engine(Rule(name="a", when=when, deny="x"))
    _, (trace,) = ours.explain({"input.tokens": 9}, models(2), now_s=0)
    assert not trace.matched
    (missed,) = trace.missed
    assert not missed.negated
    assert "data.classes" in str(missed.atom)


def test_an_outcome_is_the_decision_in_numbers() -> None:
    ours = engine(
        Rule(name="cap", cap_output_tokens=7),
        Rule(name="m0", when='model.name == "m0"', deny="x"),
    )
    prepared = ours.prepare(models(3))
    assert ours.outcome({}, prepared, now_s=0) == (-1, 0b110, 0, 7, 0)
    everywhere = engine(Rule(name="cap", cap_output_tokens=7), Rule(name="all", deny="x"))
    number, left, *_ = everywhere.outcome({}, everywhere.prepare(models(3)), now_s=0)
    assert (everywhere.hit(number).rule, left) == ("all", 0)
