"""Evaluate and Explain decide as a Router would, on the facts that are given."""

from typing import Any

from harmost.common.v1 import decision_pb2
from harmost.policy.v1 import policy_pb2


def facts(models: tuple[str, ...] = (), **request: Any) -> decision_pb2.Facts:
    made = decision_pb2.Facts(models=models)
    for name, value in request.items():
        target = made.request[name.replace("__", ".")]
        if isinstance(value, str):
            target.string_value = value
        elif isinstance(value, list):
            target.list_value.extend(value)
        else:
            target.number_value = value
    return made


async def evaluate(
    mesh: Any, given: decision_pb2.Facts, *, key: str = "caller", profile: str = "hello"
) -> Any:
    request = policy_pb2.EvaluateRequest(profile=profile, facts=given)
    return (await mesh.caller(key)("Evaluate", request)).decision


async def refusal(
    mesh: Any, given: decision_pb2.Facts, *, key: str = "caller", profile: str = "hello"
) -> str:
    request = policy_pb2.EvaluateRequest(profile=profile, facts=given)
    return (await mesh.caller(key).refused("Evaluate", request))[0]


async def test_candidates_are_those_of_the_profile(mesh: Any) -> None:
    decision = await evaluate(mesh, facts())
    assert decision.effect == decision_pb2.EFFECT_ALLOW
    assert list(decision.candidates) == ["small", "european"]
    assert decision.snapshot_generation == 1


async def test_rule_takes_candidates_out_and_is_named(mesh: Any) -> None:
    decision = await evaluate(mesh, facts(subject__region="EEA"))
    assert list(decision.candidates) == ["european"]
    assert decision.exclusions[0].model == "small"
    assert list(decision.exclusions[0].rule.citations) == ["GDPR Art. 44"]


async def test_denial_is_an_answer(mesh: Any) -> None:
    decision = await evaluate(mesh, facts(purpose="social_scoring"))
    assert decision.effect == decision_pb2.EFFECT_DENY
    assert decision.rules[0].rule == "no-scoring"


async def test_named_models_are_the_candidates(mesh: Any) -> None:
    decision = await evaluate(mesh, facts(("small", "small")), profile="")
    assert list(decision.candidates) == ["small"]


async def test_rules_of_other_tenants_do_not_bind(mesh: Any) -> None:
    given = facts(("small",), purpose="social_scoring")
    decision = await evaluate(mesh, given, key="globex", profile="")
    assert decision.effect == decision_pb2.EFFECT_ALLOW


async def test_other_tenants_profiles_and_facts_are_closed(mesh: Any) -> None:
    assert await refusal(mesh, facts(), key="globex") == "NOT_FOUND"
    assert await refusal(mesh, facts(request__tenant="globex")) == "FORBIDDEN"
    assert await refusal(mesh, facts(("none",))) == "NOT_FOUND"


async def test_facts_that_are_not_declared_are_bad_input(mesh: Any) -> None:
    assert await refusal(mesh, facts(colour="red")) == "INVALID_INPUT"
    assert await refusal(mesh, facts(purpose=3)) == "INVALID_INPUT"
    deep = facts(purpose="x")
    deep.request["labels"].struct_value.update({"a": {"b": {"c": {"d": {}}}}})
    assert await refusal(mesh, deep) == "INVALID_INPUT"


async def test_explain_tells_of_every_rule(mesh: Any) -> None:
    request = policy_pb2.ExplainRequest(profile="hello", facts=facts(subject__region="EEA"))
    answer = await mesh.caller("acme")("Explain", request)
    told = {trace.rule.rule: (trace.matched, trace.when) for trace in answer.rules}
    assert told == {
        "stays-in-eu": (True, 'subject.region == "EEA"'),
        "no-scoring": (False, 'purpose == "social_scoring"'),
    }
    assert list(answer.decision.candidates) == ["european"]
