"""Random policies decided by the index: against cel-cpp, plain Python, and the engine's own slow way."""

from functools import cache
from random import Random
from typing import Any

import cel_cases
import cel_twin
import policy_cases
from cel_expr_python import cel
from effort import effort
from policy_cases import Outcome, Truth

from harmost.core.policy.cel.front import cel_type
from harmost.core.policy.compile import PolicyCompiler
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import read_engine
from harmost.core.policy.rules import PoliciesRefused

DECISIONS = effort(100, ci=10_000, nightly=1_000_000)
DECISIONS_A_SET = 20


@cache
def compiler() -> PolicyCompiler:
    return PolicyCompiler()


@cache
def cel_cpp() -> Any:
    return cel.NewEnv(variables={name: cel_type(kind) for name, kind in policy_cases.BOTH.items()})


@cache
def compiled(text: str) -> Any:
    return cel_cpp().compile(text)


def by_twin(condition: cel_cases.Condition, env: cel_cases.Env) -> Truth:
    try:
        return bool(condition.run(dict(env)))
    except cel_twin.Failed:
        return None


def by_cel_cpp(condition: cel_cases.Condition, env: cel_cases.Env) -> Truth:
    # A condition about the call alone is asked without a candidate: what it does not ask may be anything.
    everything = {name: _EMPTY[kind] for name, kind in policy_cases.BOTH.items()} | env
    value = compiled(condition.text).eval(data=everything).value()
    return value if isinstance(value, bool) else None


_EMPTY: dict[str, object] = {
    "string": "",
    "int": 0,
    "bool": False,
    "list(string)": [],
    "map(string,string)": {},
    "map(string,int)": {},
}


def told(decision: Decision) -> Outcome:
    return Outcome(
        decision.effect,
        tuple((hit.rule, hit.mode, bool(hit.error)) for hit in decision.hits),
        tuple((each.model, each.hit.rule) for each in decision.exclusions),
        decision.candidates,
        decision.denied_by.rule if decision.denied_by else "",
        decision.output_tokens_max,
        decision.redactions,
    )


def test_random_policies_decide_as_cel_cpp_and_plain_python_say() -> None:
    for seed in range(DECISIONS // DECISIONS_A_SET):
        dice = Random(f"decide {seed}")
        cases = policy_cases.rule_cases(dice, dice.choice((1, 3, 10, 30)))
        models = policy_cases.candidates(dice, dice.choice((0, 1, 3, 10)))
        try:
            engine = compiler().compile(policy_cases.documents(cases), generation=1)
        except PoliciesRefused:
            continue  # such as a condition that may cost too much
        engine = read_engine(engine.written(), generation=1)
        prepared = engine.prepare(models)
        for _ in range(DECISIONS_A_SET):
            facts: Any = policy_cases.request(dice)
            decision = engine.decide(facts, prepared, now_s=0)
            assert decision == engine.explain(facts, models, now_s=0)[0], seed
            assert told(decision) == policy_cases.outcome(cases, facts, models, by_twin), seed
            assert told(decision) == policy_cases.outcome(cases, facts, models, by_cel_cpp), seed
