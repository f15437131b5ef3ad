"""Other policy engines asked the same: which rules match a call, for any of its candidates.

Each is made for one set of rules and has one method, `matching`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import cedarpy
import regopy
from _policy_rules import Condition, as_cedar, as_cel, as_rego, holds
from cel_expr_python import cel

from harmost.core.policy.cel.front import cel_type
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import declared_facts

__all__ = ["PEERS", "Peer"]


class Peer(Protocol):
    """An engine with its rules."""

    def matching(self, request: Mapping[str, Any], candidates: Sequence[Candidate]) -> set[int]:
        """Numbers of the rules that match."""
        ...


class PlainPython:
    """One function call for each rule and candidate."""

    def __init__(self, rules: Sequence[Condition]) -> None:
        self._rules = rules

    def matching(self, request: Mapping[str, Any], candidates: Sequence[Candidate]) -> set[int]:
        """Numbers of the rules that match."""
        return {
            number
            for number, rule in enumerate(self._rules)
            if any(holds(rule, request, each.facts) for each in candidates)
        }


class CelExprPython:
    """cel-cpp through cel-expr-python: one expression for each rule, once for each candidate asked."""

    def __init__(self, rules: Sequence[Condition]) -> None:
        types = {name: cel_type(fact.type.value) for name, fact in declared_facts().items()}
        self._env = cel.NewEnv(variables=types)
        texts = [as_cel(rule) for rule in rules]
        self._rules = [(self._env.compile(text), "model." in text) for text in texts]

    def matching(self, request: Mapping[str, Any], candidates: Sequence[Candidate]) -> set[int]:
        """Numbers of the rules that match."""
        given = [self._env.Activation({**request, **each.facts}) for each in candidates]
        return {
            number
            for number, (rule, asks) in enumerate(self._rules)
            if any(rule.eval(activation=each).value() for each in (given if asks else given[:1]))
        }


class Cedarpy:
    """Cedar through cedarpy: a permit for each rule, a request for each candidate."""

    def __init__(self, rules: Sequence[Condition]) -> None:
        text = "\n".join(as_cedar(number, rule) for number, rule in enumerate(rules))
        self._policies = cedarpy.PolicySet.from_str(text)

    def matching(self, request: Mapping[str, Any], candidates: Sequence[Candidate]) -> set[int]:
        """Numbers of the rules that match."""
        call = {"principal": 'U::"u"', "action": 'A::"a"', "resource": 'R::"r"'}
        asked = [{**call, "context": _flat(request, each)} for each in candidates]
        answers = cedarpy.is_authorized_batch(asked, self._policies, [])
        reasons = {reason for answer in answers for reason in answer.diagnostics.reasons}
        return {int(reason.removeprefix("policy")) for reason in reasons}


class Regopy:
    """Rego through regopy (rego-cpp): a bundle of one module, queried for each candidate."""

    def __init__(self, rules: Sequence[Condition]) -> None:
        module = "package rules\n" + "\n".join(as_rego(n, rule) for n, rule in enumerate(rules))
        self._rego = regopy.Interpreter()
        self._rego.add_module("rules", module)
        self._bundle = self._rego.build("data.rules.matched")

    def matching(self, request: Mapping[str, Any], candidates: Sequence[Candidate]) -> set[int]:
        """Numbers of the rules that match."""
        found: set[int] = set()
        for each in candidates:
            self._rego.set_input(_flat(request, each))
            answer = self._rego.query_bundle(self._bundle)
            found.update(int(number) for number in answer.results[0].expressions[0])
        return found


def _flat(request: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    return {name.replace(".", "_"): value for name, value in (request | candidate.facts).items()}


PEERS: Mapping[str, Callable[[Sequence[Condition]], Peer]] = {
    "python": PlainPython,
    "cel_expr_python": CelExprPython,
    "cedarpy": Cedarpy,
    "regopy": Regopy,
}
