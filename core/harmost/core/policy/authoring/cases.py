"""Tests of policies as tables: the facts of a call, and what is to be decided. Read, not run.

    apiVersion: harmost.dev/v1
    kind: PolicyTest
    spec:
      facts: {request.tenant: acme}        # of every test; a test's own come over them
      tests:
        - name: cards are masked
          facts: {data.classes: [pan]}
          candidates: [gpt-small]           # names of models, or facts: {model.name: x, model.region: US}
          expect: {effect: allow, redact: {pan: mask_last4}}

What `expect` leaves out may be anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import msgspec

from harmost.core.errors import InvalidInput
from harmost.core.limits import CANDIDATES_MAX, POLICY_TESTS_MAX
from harmost.core.policy.expiry import rfc3339_s
from harmost.core.policy.facts import FactScope, checked_facts
from harmost.core.resources.kinds import Strict
from harmost.core.resources.nodes import (
    MappingNode,
    Node,
    Place,
    ScalarNode,
    SequenceNode,
    Unreadable,
    compose,
)
from harmost.core.resources.parse import API_VERSION, TEST_KIND, Problems, Source, decoded
from harmost.core.resources.shapes import check_shape, plain, quoted

__all__ = ["SUFFIX", "Case", "Expect", "PlacedCase", "is_case_file", "parse_cases"]

SUFFIX = ".test.yaml"
_REQUEST, _CANDIDATE = FactScope.REQUEST, FactScope.CANDIDATE


class Expect(Strict, frozen=True):
    """What is to be decided. Rules are named "policy/rule"; `hits` are all that match, in any order.

    0 and "" for a cap mean that none is wanted, as do [] and {}.
    """

    effect: Literal["allow", "deny"] | None = None
    denied_by: str | None = None
    hits: tuple[str, ...] | None = None
    candidates: tuple[str, ...] | None = None
    excluded: dict[str, str] | None = None
    redact: dict[str, str] | None = None
    cap_output_tokens: int | None = None
    cap_usd_per_1k_tokens: str | None = None


class Case(Strict, frozen=True):
    """One test. `now` (RFC 3339) is when it is decided; without it, now."""

    name: str
    expect: Expect
    facts: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    profile: str = ""
    candidates: tuple[Any, ...] = ()
    now: str = ""


class _Tests(Strict, frozen=True):
    tests: tuple[Case, ...]
    facts: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    profile: str = ""
    candidates: tuple[Any, ...] = ()
    now: str = ""


class _File(Strict, frozen=True, rename="camel"):
    api_version: Literal["harmost.dev/v1"]
    kind: Literal["PolicyTest"]
    spec: _Tests


class PlacedCase(NamedTuple):
    """A test whose table's own facts, profile, candidates and time are put in, and where it stands."""

    case: Case
    root: MappingNode

    @property
    def place(self) -> Place:
        """Where the test begins."""
        return self.root.place

    def where(self, *path: str | int) -> Place:
        """Where `path` stands in the test; else the nearest around it."""
        node: Node = self.root
        for part in path:
            found: Node | None = None
            if isinstance(node, MappingNode):
                found = node.values.get(str(part))
            elif not isinstance(node, ScalarNode) and isinstance(part, int):
                found = node.items[part] if part < len(node.items) else None
            if found is None:
                break
            node = found
        return node.place

    def of_tenant(self, tenant: str) -> "PlacedCase":
        """The same test of a call that is charged to `tenant`."""
        facts = {**self.case.facts, "request.tenant": tenant}
        return self._replace(case=msgspec.structs.replace(self.case, facts=facts))

    @property
    def now_s(self) -> int | None:
        """When it is decided, in Unix seconds; None: now."""
        return rfc3339_s(self.case.now) if self.case.now else None


def is_case_file(name: str) -> bool:
    """Whether a file of that name holds tests, not documents."""
    return name.endswith((SUFFIX, ".test.yml"))


def parse_cases(sources: Sequence[Source]) -> tuple[PlacedCase, ...]:
    """The tests of all `sources`, in order; raises InvalidDocuments with every problem at its place."""
    problems = Problems()
    cases: list[PlacedCase] = []
    for source in sources:
        try:
            for root in compose(source.name, decoded(source)):
                if not (isinstance(root, ScalarNode) and root.value is None):
                    cases += _file(root, problems)
        except Unreadable as error:
            problems.add(error.place, error.message)
    if len(cases) > POLICY_TESTS_MAX:
        message = f"{len(cases)} tests are more than {POLICY_TESTS_MAX}: run them in parts"
        problems.add(cases[POLICY_TESTS_MAX].place, message)
    problems.raise_any()
    return tuple(cases)


def _file(root: Node, problems: Problems) -> list[PlacedCase]:
    if not isinstance(root, MappingNode):
        problems.add(root.place, f"tests are a mapping: begin with `apiVersion: {API_VERSION}`")
        return []
    if not check_shape(root, _File, TEST_KIND, problems.add):
        return []
    spec = msgspec.convert(plain(root), _File).spec
    tests = _tests_node(root)
    cases: list[PlacedCase] = []
    names: dict[str, Place] = {}
    for case, node in zip(spec.tests, tests, strict=True):
        first = names.setdefault(case.name, node.place)
        if not case.name.strip() or first is not node.place:
            problems.add(
                node.place, f"test {quoted(case.name)} has no name of its own: give it one"
            )
        placed = PlacedCase(_with_table(case, spec), node)
        _check(placed, problems)
        cases.append(placed)
    return cases


def _tests_node(root: MappingNode) -> list[MappingNode]:
    spec = root.values["spec"]
    assert isinstance(spec, MappingNode)  # check_shape said so, as of the two below
    tests = spec.values["tests"]
    assert isinstance(tests, SequenceNode)
    return [node for node in tests.items if isinstance(node, MappingNode)]


def _with_table(case: Case, spec: _Tests) -> Case:
    return msgspec.structs.replace(
        case,
        facts={**spec.facts, **case.facts},
        profile=case.profile or spec.profile,
        candidates=case.candidates or spec.candidates,
        now=case.now or spec.now,
    )


def _check(placed: PlacedCase, problems: Problems) -> None:
    case = placed.case
    _check_facts(placed, case.facts, _REQUEST, ("facts",), problems)
    if len(case.candidates) > CANDIDATES_MAX:
        message = f"{len(case.candidates)} candidates are more than {CANDIDATES_MAX}: name fewer"
        problems.add(placed.where("candidates"), message)
    for index, candidate in enumerate(case.candidates):
        path = ("candidates", index)
        if isinstance(candidate, dict):
            facts = cast("dict[str, Any]", candidate)
            if not isinstance(facts.get("model.name"), str):
                problems.add(placed.where(*path), "a candidate has no `model.name`: write it")
            _check_facts(placed, facts, _CANDIDATE, path, problems)
        elif not isinstance(candidate, str):
            problems.add(
                placed.where(*path), "a candidate is the name of a model, or its facts: correct it"
            )
    if case.now:
        try:
            rfc3339_s(case.now)
        except ValueError as error:
            problems.add(placed.where("now"), str(error))


def _check_facts(
    placed: PlacedCase,
    facts: Mapping[str, Any],
    scope: FactScope,
    path: tuple[str | int, ...],
    problems: Problems,
) -> None:
    try:
        checked_facts(facts, scope=scope)
    except InvalidInput as error:
        for field, description in error.violations:
            problems.add(placed.where(*path, field), description)
