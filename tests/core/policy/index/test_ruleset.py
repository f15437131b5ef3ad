"""Compiled policies as bytes: the same engine afterwards, and no harm from bytes that are not ours."""

from random import Random

import msgspec
import policy_cases
import pytest
from effort import effort

from harmost.core.errors import InvalidInput
from harmost.core.limits import RULES_MAX, TENANT_DEPTH_MAX
from harmost.core.policy.compile import PolicyCompiler, compile_policies
from harmost.core.policy.engine import Engine, read_engine
from harmost.core.policy.index.ruleset import RuleSet, read_rule_set, written
from harmost.core.resources.kinds import Metadata, PolicySpec, Rule


def rule_set(*rules: Rule) -> RuleSet:
    engine = compile_policies([(Metadata(name="p"), PolicySpec(rules=rules))], generation=1)
    return read_rule_set(engine.written())


DENY = Rule(name="a", when='labels["env"] == "prod" || input.tokens > 5', deny="no")


def refused(found: RuleSet) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_rule_set(msgspec.msgpack.encode(found))
    return str(caught.value)


def changed(found: RuleSet, **fields: object) -> RuleSet:
    (rule,) = found.rules
    return RuleSet(found.version, found.atoms, (msgspec.structs.replace(rule, **fields),))


def test_a_rule_set_survives_its_bytes() -> None:
    found = rule_set(DENY, Rule(name="b", require='model.region == "EEA"'))
    assert read_rule_set(written(found)) == found


def test_a_literal_that_is_not_there_is_refused() -> None:
    found = rule_set(DENY)
    assert "rule `a` names a condition that is not there" in refused(
        changed(found, matches=((2 * len(found.atoms),),))
    )
    assert "not there" in refused(changed(found, unmet=((-1,),)))


def test_another_version_is_refused() -> None:
    found = rule_set(DENY)
    assert "run the same version everywhere" in refused(RuleSet(99, found.atoms, found.rules))


def test_rules_out_of_order_are_refused() -> None:
    found = rule_set(DENY, Rule(name="b", deny="x", priority=3))
    assert "out of order" in refused(RuleSet(found.version, found.atoms, found.rules[::-1]))


def test_a_tenant_deeper_than_tenants_are_is_refused() -> None:
    deep = "/".join("t" * (TENANT_DEPTH_MAX + 1))
    assert "binds a tenant below" in refused(changed(rule_set(DENY), tenant=deep))


def test_more_rules_than_the_bound_are_refused_by_their_number() -> None:
    found = rule_set(DENY)
    many = RuleSet(found.version, found.atoms, found.rules * (RULES_MAX + 1))
    assert f"there are {RULES_MAX + 1} rules, more than {RULES_MAX}" in refused(many)


def test_a_condition_that_is_no_tree_is_found_when_the_rules_are_made_ready() -> None:
    found = changed(rule_set(DENY), when=b"\xff")
    engine = Engine(read_rule_set(written(found)), generation=1)
    # It is only asked for what an error says: here for none.
    assert engine.decide({"input.tokens": 9, "labels": {"env": "x"}}, [], now_s=0).hits


def test_bytes_that_are_not_ours_are_refused_or_read() -> None:
    dice = Random(7)
    cases = policy_cases.rule_cases(dice, 5)
    good = compile_policies(policy_cases.documents(cases), generation=1).written()
    were_read = were_refused = 0
    for _ in range(effort(300, ci=20_000, nightly=200_000)):
        data = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 20))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        data = data[: dice.choice((len(data), len(data), dice.randrange(len(data))))]
        try:
            engine = read_engine(bytes(data), generation=1)
        except InvalidInput:
            were_refused += 1
            continue
        were_read += 1
        assert engine.decide({"request.tenant": "acme"}, [], now_s=0).snapshot_generation == 1
    assert were_read
    assert were_refused


def test_a_generation_is_compiled_the_same_from_what_the_one_before_left() -> None:
    dice = Random(3)
    compiler = PolicyCompiler()
    cases = policy_cases.rule_cases(dice, 20)
    for _ in range(15):
        at = dice.randrange(len(cases))
        cases[at] = policy_cases.rule_cases(dice, 1)[0]._replace(tenant=cases[at].tenant)
        rule = msgspec.structs.replace(cases[at].rule, name=f"r{at}")
        cases[at] = cases[at]._replace(rule=rule)
        documents = policy_cases.documents(cases)
        warm = compiler.compile(documents, generation=1)
        cold = compile_policies(documents, generation=1)
        assert warm.written() == cold.written()
        for _ in range(10):
            facts, models = policy_cases.request(dice), policy_cases.candidates(dice, 2)
            assert warm.decide(facts, models, now_s=0) == cold.decide(facts, models, now_s=0)  # type: ignore[arg-type]


def test_what_a_compiler_remembers_is_bounded() -> None:
    compiler = PolicyCompiler()
    for number in range(600):
        rule = Rule(name="a", when=f"input.tokens > {number}", deny="x")
        policies = [(Metadata(name="p"), PolicySpec(rules=(rule,)))]
        engine = compiler.compile(policies, generation=number)
    assert len(read_rule_set(engine.written()).atoms) == 1
    assert len(vars(compiler)["_lowering"]._atoms) <= 300
