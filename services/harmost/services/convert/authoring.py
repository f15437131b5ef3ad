"""What the tools of policy authors say, for the wire: tests, coverage, findings, explanations."""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf import struct_pb2

from harmost.core.policy.authoring.explain import AtomTrace, Explanation, FactChange, RuleExplained
from harmost.core.policy.authoring.lint_run import Finding, LintReport, Severity
from harmost.core.policy.authoring.trial import Trial
from harmost.core.policy.facts import FactValue
from harmost.core.resources.parse import ParsedDocument
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.decision import decision_to_proto, hit_to_proto

__all__ = ["explanation_to_proto", "lint_to_proto", "trial_to_proto"]

_TRUTHS: Mapping[str, "policy_pb2.Truth.ValueType"] = {
    "true": policy_pb2.TRUTH_TRUE,
    "false": policy_pb2.TRUTH_FALSE,
    "error": policy_pb2.TRUTH_ERROR,
}
_SEVERITIES: Mapping[Severity, "policy_pb2.Severity.ValueType"] = {
    "error": policy_pb2.SEVERITY_ERROR,
    "warning": policy_pb2.SEVERITY_WARNING,
    "note": policy_pb2.SEVERITY_NOTE,
}


def trial_to_proto(trial: Trial, *, shown: Callable[[str], bool]) -> policy_pb2.TestResponse:
    """`trial`, with the coverage of those policies whose name is `shown`."""
    return policy_pb2.TestResponse(
        results=[
            policy_pb2.TestResult(
                name=result.name,
                place=f"{result.source}:{result.line}:{result.column}",
                problems=result.problems,
            )
            for result in trial.results
        ],
        coverage=[
            policy_pb2.RuleCoverage(
                policy=rule.policy,
                rule=rule.rule,
                matched=rule.matched,
                atoms=[
                    policy_pb2.AtomCoverage(
                        text=atom.text, seen_true=atom.seen_true, seen_false=atom.seen_false
                    )
                    for atom in rule.atoms
                ],
            )
            for rule in trial.coverage.rules
            if shown(rule.policy)
        ],
    )


def lint_to_proto(
    report: LintReport, policies: Mapping[str, ParsedDocument]
) -> policy_pb2.LintResponse:
    """`report` about `policies`, by name; findings about others are left out."""
    return policy_pb2.LintResponse(
        findings=[
            _finding_to_proto(finding, policies[finding.policy])
            for finding in report.findings
            if finding.policy in policies
        ],
        undecided=[
            policy_pb2.Undecided(kind=each.kind, policy=each.policy, rule=each.rule, why=each.why)
            for each in report.undecided
            if each.policy in policies
        ],
        rules=report.rules,
    )


def explanation_to_proto(explanation: Explanation) -> policy_pb2.ExplainResponse:
    """A decision and what each rule said to it."""
    return policy_pb2.ExplainResponse(
        decision=decision_to_proto(explanation.decision),
        rules=[_rule_to_proto(rule) for rule in explanation.rules],
        flips=_changes_to_proto(explanation.flips),
    )


def _finding_to_proto(finding: Finding, parsed: ParsedDocument) -> policy_pb2.Finding:
    witness = finding.witness
    return policy_pb2.Finding(
        kind=finding.kind,
        severity=_SEVERITIES[finding.severity],
        policy=finding.policy,
        rule=finding.rule,
        place=str(parsed.where("spec", *finding.path)),
        message=finding.message,
        others=finding.others,
        request=_facts_to_proto(witness.request) if witness else {},
        candidate=_facts_to_proto(witness.candidate) if witness else {},
    )


def _rule_to_proto(rule: RuleExplained) -> policy_pb2.RuleTrace:
    return policy_pb2.RuleTrace(
        rule=hit_to_proto(rule.hit),
        matched=rule.matched,
        when=rule.when,
        require=rule.require,
        atoms=[_atom_to_proto(atom) for atom in rule.atoms],
        flips=_changes_to_proto(rule.flips),
    )


def _atom_to_proto(atom: AtomTrace) -> policy_pb2.AtomTrace:
    return policy_pb2.AtomTrace(
        text=atom.text,
        gave=_TRUTHS[atom.gave],
        error=atom.error,
        facts=_facts_to_proto(atom.facts),
        model=atom.model,
    )


def _changes_to_proto(changes: Sequence[FactChange]) -> list[policy_pb2.FactChange]:
    return [
        policy_pb2.FactChange(
            fact=change.fact,
            was=_value_to_proto(change.was),
            would_be=_value_to_proto(change.would_be),
            model=change.model,
        )
        for change in changes
    ]


def _facts_to_proto(facts: Mapping[str, FactValue]) -> dict[str, struct_pb2.Value]:
    return {name: _value_to_proto(value) for name, value in facts.items()}


def _value_to_proto(value: FactValue) -> struct_pb2.Value:
    """As JSON has it: integers beyond 2**53 are rounded."""
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, list):
        items = [_value_to_proto(item) for item in value]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    fields = {key: _value_to_proto(item) for key, item in value.items()}
    return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
