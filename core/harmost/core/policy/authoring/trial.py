"""Runs tests of policies against a snapshot: what differs from what was expected, and what was covered.

A rule is covered by a test in which it matches. An atom of a condition is covered when some test has
seen it true and some test has seen it false, for whichever candidate.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from harmost.core.budget.price import usd_nanos
from harmost.core.errors import HarmostError, InvalidInput
from harmost.core.policy.authoring.ask import Asker, asks_candidates
from harmost.core.policy.authoring.atoms import FALSE, TRUE, Outcomes, atoms_of
from harmost.core.policy.authoring.cases import PlacedCase
from harmost.core.policy.authoring.domains import Situation
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.ir import Node
from harmost.core.policy.cel.text import text_of
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, checked_facts
from harmost.core.policy.rules import CompiledRule, compile_rules
from harmost.core.resources.question import Question, known_candidate, question
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import visible

__all__ = ["AtomCoverage", "CaseResult", "Coverage", "RuleCoverage", "Trial", "try_cases"]


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One test. `problems` say what differs, each with the field of `expect`; empty: it passed."""

    name: str
    source: str
    line: int
    column: int
    problems: tuple[str, ...]


class AtomCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a condition, and what tests have seen it give."""

    text: str
    seen_true: bool
    seen_false: bool


class RuleCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: in how many tests it matched, and its atoms."""

    policy: str
    rule: str
    matched: int
    atoms: tuple[AtomCoverage, ...]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Every rule, in the order of evaluation."""

    rules: tuple[RuleCoverage, ...]

    @property
    def rule_permille(self) -> int:
        """How many of a thousand rules matched in some test; 1000 where there are none."""
        return _permille(sum(1 for rule in self.rules if rule.matched), len(self.rules))

    @property
    def atom_permille(self) -> int:
        """How many of a thousand atoms were seen both true and false."""
        atoms = [atom for rule in self.rules for atom in rule.atoms]
        return _permille(sum(1 for a in atoms if a.seen_true and a.seen_false), len(atoms))


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Every test in order, and what all of them together covered."""

    results: tuple[CaseResult, ...]
    coverage: Coverage

    @property
    def failed(self) -> int:
        """How many tests did not pass."""
        return sum(1 for result in self.results if result.problems)


def try_cases(
    snapshot: CompiledSnapshot,
    cases: Sequence[PlacedCase],
    *,
    now_s: int,
    progress: Callable[[int, int], None] | None = None,
) -> Trial:
    """Run `cases`; those that name no time are decided at `now_s`. Never raises for a test."""
    policies = [(policy.metadata, policy.spec) for policy in snapshot.catalog.policies.values()]
    runner = _Runner(snapshot, compile_rules(policies, fact_environment()))
    results: list[CaseResult] = []
    for done, placed in enumerate(cases):
        if progress is not None:
            progress(done, len(cases))
        results.append(runner.result(placed, now_s))
    return Trial(results=tuple(results), coverage=runner.coverage())


class _Runner:
    """Runs tests one by one and keeps what they covered."""

    def __init__(self, snapshot: CompiledSnapshot, rules: Sequence[CompiledRule]) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._asker = Asker()
        self._names = {f"{rule.hit.policy}/{rule.hit.rule}" for rule in rules}
        self._atoms = [_atoms(rule) for rule in rules]
        self._matched = [0] * len(rules)
        self._seen: list[dict[Node, Outcomes]] = [dict.fromkeys(atoms, 0) for atoms in self._atoms]
        self._index = {(rule.hit.policy, rule.hit.rule): index for index, rule in enumerate(rules)}

    def result(self, placed: PlacedCase, now_s: int) -> CaseResult:
        """What differs in one test."""
        try:
            when_s = placed.now_s if placed.now_s is not None else now_s
            asked = self._question(placed, when_s)
            decision, traces = self._snapshot.engine.explain(
                asked.request, asked.candidates, now_s=when_s
            )
            for trace in traces:
                index = self._index[trace.hit.policy, trace.hit.rule]
                self._matched[index] += trace.matched
            self._see(asked, when_s)
            problems = _differences(placed, decision, self._names)
        except HarmostError as error:
            problems = [error.message]
            problems += [each.description for each in getattr(error, "violations", ())]
        source, line, column = placed.place
        return CaseResult(
            name=placed.case.name, source=source, line=line, column=column, problems=tuple(problems)
        )

    def coverage(self) -> Coverage:
        """What all tests so far have covered."""
        return Coverage(
            rules=tuple(
                RuleCoverage(
                    policy=rule.hit.policy,
                    rule=rule.hit.rule,
                    matched=self._matched[index],
                    atoms=tuple(
                        AtomCoverage(
                            text=text_of(atom),
                            seen_true=bool(seen & TRUE),
                            seen_false=bool(seen & FALSE),
                        )
                        for atom, seen in self._seen[index].items()
                    ),
                )
                for index, rule in enumerate(self._rules)
            )
        )

    def _question(self, placed: PlacedCase, now_s: int) -> Question:
        case = placed.case
        tenant = str(case.facts.get("request.tenant", ""))
        names = [each for each in case.candidates if isinstance(each, str)]
        asked = question(
            self._snapshot,
            tenant=tenant,
            principal="",
            profile=case.profile,
            given=case.facts,
            models=names,
            now_s=now_s,
        )
        if not case.candidates:
            return asked
        candidates = [
            known_candidate(self._snapshot, each, tenant, now_s=now_s)
            if isinstance(each, str)
            else Candidate(each["model.name"], checked_facts(each, scope=FactScope.CANDIDATE))
            for each in case.candidates
        ]
        if len({candidate.name for candidate in candidates}) < len(candidates):
            raise InvalidInput("a candidate is named twice: remove one")
        return Question(asked.request, tuple(candidates))

    def _see(self, asked: Question, now_s: int) -> None:
        tenant = str(asked.request.get("request.tenant", ""))
        for index, rule in enumerate(self._rules):
            if rule.rests(now_s) or not (not rule.tenant or visible(rule.tenant, tenant)):
                continue
            for atom, about_candidate in self._atoms[index].items():
                if self._seen[index][atom] & (TRUE | FALSE) == TRUE | FALSE:
                    continue
                situations = (
                    [Situation(dict(asked.request), dict(each.facts)) for each in asked.candidates]
                    if about_candidate
                    else [Situation(dict(asked.request), {})]
                )
                for situation in situations:
                    self._seen[index][atom] |= self._asker.outcome(atom, situation)


def _atoms(rule: CompiledRule) -> dict[Node, bool]:
    """The atoms that an author wrote, and whether each asks about candidates."""
    nodes = [rule.when.node] if rule.when is not None else []
    if rule.require is not None and rule.require_text:
        nodes.append(rule.require.node)
    return {atom: asks_candidates(atom) for node in nodes for atom in atoms_of(node)}


def _differences(placed: PlacedCase, decision: Decision, names: set[str]) -> list[str]:
    expect = placed.case.expect
    problems: list[str] = []

    def differ(
        field: str,
        wanted: str | Mapping[str, str] | Sequence[str] | None,
        found: str | Mapping[str, str] | Sequence[str],
    ) -> None:
        if wanted is not None and wanted != found:
            problems.append(f"{field}: expected {_said(wanted)}, found {_said(found)}")

    differ("effect", expect.effect, decision.effect)
    differ("denied_by", expect.denied_by, _name(decision.denied_by))
    if expect.hits is not None:
        differ("hits", sorted(set(expect.hits)), sorted({_name(hit) for hit in decision.hits}))
    differ("candidates", expect.candidates, decision.candidates)
    excluded = {each.model: _name(each.hit) for each in decision.exclusions}
    differ("excluded", expect.excluded, excluded)
    redactions = {each.data_class: each.how for each in decision.redactions}
    differ("redact", expect.redact, redactions)
    if expect.cap_output_tokens is not None:
        found_tokens = str(decision.output_tokens_max)
        differ("cap_output_tokens", str(expect.cap_output_tokens), found_tokens)
    problems += _price_difference(expect.cap_usd_per_1k_tokens, decision)
    return problems + _unknown_names(placed, names)


def _price_difference(wanted: str | None, decision: Decision) -> list[str]:
    if wanted is None:
        return []
    try:
        nanos = usd_nanos(wanted) if wanted else 0
    except ValueError as error:
        return [f"cap_usd_per_1k_tokens: {error}"]
    found = decision.usd_nanos_per_1k_tokens_max
    if nanos == found:
        return []
    usd = f"{found // 10**9}.{found % 10**9:09}"
    return [f"cap_usd_per_1k_tokens: expected `{wanted}`, found `{usd}`"]


def _unknown_names(placed: PlacedCase, names: set[str]) -> list[str]:
    expect = placed.case.expect
    named = [*(expect.hits or ()), *(expect.excluded or {}).values(), expect.denied_by or ""]
    problems: list[str] = []
    for name in dict.fromkeys(named):
        if name and name not in names:
            near = difflib.get_close_matches(name, sorted(names), n=1)
            hint = f"did you mean `{near[0]}`?" if near else "write policy/rule"
            problems.append(f"no rule is called `{name[:200]}`: {hint}")
    return problems


def _name(hit: RuleHit | None) -> str:
    return f"{hit.policy}/{hit.rule}" if hit is not None else ""


def _said(value: str | Mapping[str, str] | Sequence[str] | None) -> str:
    if isinstance(value, Mapping):
        return f"`{{{', '.join(f'{key}: {value[key]}' for key in value)}}}`"
    if isinstance(value, str) or value is None:
        return f"`{value}`"
    return f"`[{', '.join(value)}]`"


def _permille(part: int, whole: int) -> int:
    return part * 1000 // whole if whole else 1000
