"""The conformance suite of google/cel-spec through the index: conditions as rules, decided.

A case that gives a bool is a condition as it stands; of any other it is asked whether the result equals
what is expected. Each is the `when` of a deny rule, which matches unless it is false, and of an allow
rule, which matches only if it is true: so both tell true, false and an error apart.
"""

import math

import cel_spec

from harmost.core.policy.cel.expression import Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.ir import Compare, Fact, Node
from harmost.core.policy.decision import RuleHit
from harmost.core.policy.engine import Engine
from harmost.core.policy.index.forms import Lowering
from harmost.core.policy.index.ruleset import read_rule_set, written
from harmost.core.policy.rules import CompiledRule


def rule(expression: Expression, effect: str) -> CompiledRule:
    hit = RuleHit(policy="p", rule=effect, effect=effect)  # type: ignore[arg-type]
    return CompiledRule(hit=hit, tenant="", priority=0, when=expression)


def decided(node: Node, types: dict[str, str], values: dict[str, object]) -> object:
    """True, False or ERROR, as the rules that match say; None if the engine itself cannot be asked."""
    schema = Schema(types, defaults=True)
    expression = Expression("", node, schema)
    rules = Lowering().rule_set([rule(expression, "deny"), rule(expression, "allow")])
    engine = Engine(read_rule_set(written(rules)), generation=1, schema=schema)
    decision = engine.decide(values, [], now_s=0)  # type: ignore[arg-type]
    assert decision == engine.explain(values, [], now_s=0)[0]  # type: ignore[arg-type]
    matched = [(hit.rule, bool(hit.error)) for hit in decision.hits]
    return {
        (("deny", False), ("allow", False)): True,
        (): False,
        (("deny", True),): cel_spec.ERROR,
    }[tuple(matched)]


def outcome(case: cel_spec.Case) -> object:
    """Whether the index says what is expected; the refusal where the case is outside the profile."""
    try:
        compiled = cel_spec.compile_case(case)
    except ExpressionRefused:
        return "refused"
    if case.row.get("check_only") or case.expected is cel_spec.FOREIGN:
        return "no value is expected"
    schema = compiled.expression.program.schema
    types = dict(zip(schema.names, schema.types, strict=True))
    # A variable without a value is an error in the suite and a default in a policy: one of no type at
    # all is an error in both.
    values = dict.fromkeys(types, object()) | compiled.values
    node, expected = compiled.expression.node, case.expected
    if compiled.expression.type == "bool":
        return decided(node, types, values) is expected
    if expected is cel_spec.ERROR:
        asked = Compare("==", node, node)
        return decided(asked, types, values) is expected
    kind = compiled.expression.type
    try:
        asked = Compare("==", node, Fact("expected", kind))
        answer = decided(asked, types | {"expected": kind}, values | {"expected": expected})
    except (ValueError, KeyError):
        return f"`{kind}` is no type of a fact"
    return answer is not (isinstance(expected, float) and math.isnan(expected))


def test_every_case_of_the_profile_is_decided_as_expected_by_the_index() -> None:
    outcomes = {case.id: outcome(case) for case in cel_spec.cases() if case.in_profile}
    assert outcomes
    assert [(name, said) for name, said in outcomes.items() if said is not True] == []


def test_every_other_case_is_decided_as_expected_or_refused() -> None:
    outcomes = {case.id: outcome(case) for case in cel_spec.cases() if not case.in_profile}
    assert [name for name, said in outcomes.items() if said is False] == []
