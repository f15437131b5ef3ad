"""From a rule set to indexes: which rules a tenant can ever meet, and what is asked of which fact.

Rules are parted by tenant: those of each policy's tenant, and those that pin `request.tenant` to one.
A part is indexed when a tenant that it binds first calls, so others cost nothing.

A lane of an index is one conjunction of one rule. A literal of it that asks one fact of the call goes
into the index; one that asks only about candidates into their masks; any other is run for survivors.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from harmost.core.policy.cel.frame import Frame, Schema
from harmost.core.policy.cel.ir import Call, Fact, Node, facts_of, walk
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.index.decide import Candidates, Part
from harmost.core.policy.index.index import Index
from harmost.core.policy.index.predicates import (
    Asked,
    KeyKind,
    Predicate,
    can_err,
    predicate,
    presence_of,
)
from harmost.core.policy.index.residual import Residuals
from harmost.core.policy.index.ruleset import Conjunction, RuleForm, RuleSet
from harmost.core.tenants import ancestors, visible

__all__ = ["Parts"]

_TENANT = "request.tenant"
# A lane that names more tenants than this is not parted by them but indexed like any other.
_PINS_MAX = 16
_UNMET, _DOUBT, _RESIDUAL = 1, 2, 4


class _Lane(NamedTuple):
    """One conjunction of the rule with this number; `unmet`: of where its `require` fails."""

    rule: int
    conjunction: Conjunction
    unmet: bool


class _Atom:
    """What is known of an atom. `asked` is set where an index of the call's facts can answer it."""

    __slots__ = ("asked", "candidate", "doubtful", "node", "presence", "residual")

    def __init__(self, node: Node, candidate_facts: frozenset[str]) -> None:
        facts = facts_of(node)
        self.node = node
        # Candidate facts alone, or together with those of the call.
        self.candidate = bool(facts) and facts <= candidate_facts
        self.asked = None if facts & candidate_facts else predicate(node)
        self.residual = -1
        self.doubtful = can_err(node)
        self.presence = presence_of(node)


class Parts:
    """The parts of one rule set, each made when first asked for. One thread at a time."""

    def __init__(self, rules: RuleSet, schema: Schema) -> None:
        self._rules = rules.rules
        self._schema = schema
        self._frame = Frame(schema)
        candidate_facts = frozenset(schema.names[schema.split :])
        self._atoms = [_Atom(node, candidate_facts) for node in rules.atoms]
        self._programs: dict[int, Program] = {}
        self._check(dict(zip(schema.names, schema.types, strict=True)))
        self._built: dict[tuple[str, str], Part] = {}
        self._lanes_of: list[list[_Lane]] = []
        self._lanes = self._by_tenant()
        self.residuals = self._residuals(candidate_facts)

    def _check(self, types: Mapping[str, str]) -> None:
        """Raises IrRefused if an atom cannot be run. Programs are made only where that may be so."""
        for number, atom in enumerate(self._atoms):
            for part in walk(atom.node):
                is_pattern = isinstance(part, Call) and part.function == "matches"
                if is_pattern or (isinstance(part, Fact) and types.get(part.name) != part.type):
                    self._program(number)

    def binding(self, tenant: str) -> list[Part]:
        """The parts that a call of `tenant` can meet."""
        bound = [("at", path) for path in ("", *ancestors(tenant))]
        keys = [key for key in (*bound, ("is", tenant)) if key in self._lanes]
        return [self._built.get(key) or self._build(key) for key in keys]

    def doubtful(self, rule: int) -> bool:
        """Whether the condition of `rule` may be an error."""
        return any(_doubtful(self._atoms, found) for found in self._rules[rule].matches)

    def masks(self, candidates: Candidates, part: Part) -> bytes:
        """Where candidate facts refute no lane of `part`: 8 bytes a lane, in its order."""
        everything = (1 << max(1, candidates.count)) - 1
        masks: list[int] = []
        for lane in self._lanes_of[part.number]:
            rule = self._rules[lane.rule]
            asks = rule.when_asks_candidate or (lane.unmet and rule.require_asks_candidate)
            mask = everything if candidates.count or not asks else 0
            lower = rule.hit.effect == "allow"
            for literal in lane.conjunction:
                if self._atoms[literal >> 1].candidate:
                    mask &= self._where(literal, candidates, everything, lower=lower)
            masks.append(mask)
        return struct.pack(f"={max(1, len(masks))}Q", *(masks or (0,)))

    def _where(self, literal: int, candidates: Candidates, everything: int, *, lower: bool) -> int:
        """The candidates for which `literal` is true, or with not `lower` also those where it errs."""
        answer = candidates.answers.get(literal >> 1)
        if answer is None:
            program = self._program(literal >> 1)
            true = fails = 0
            for index, facts in enumerate(candidates.facts):
                self._frame.use(facts)
                holds, error = program.evaluate(self._frame)
                true |= holds << index
                fails |= bool(error) << index
            answer = candidates.answers[literal >> 1] = (true, fails)
        true, fails = answer
        if literal & 1:
            true = everything & ~(true | fails)
        return true if lower else true | fails

    def _by_tenant(self) -> dict[tuple[str, str], list[_Lane]]:
        """Every lane, by the tenants that it binds: at a path and below, or one alone."""
        parted: dict[tuple[str, str], list[_Lane]] = {}
        pinning = {
            number: atom.asked.values
            for number, atom in enumerate(self._atoms)
            if atom.asked is not None
            and atom.asked.kind is KeyKind.VALUE
            and atom.asked.fact == _TENANT
            and atom.asked.values is not None
            and len(atom.asked.values) <= _PINS_MAX
        }
        for number, rule in enumerate(self._rules):
            for conjunction, unmet in _conjunctions(rule):
                pin = next(
                    (each for each in conjunction if not each & 1 and each >> 1 in pinning), None
                )
                if pin is None:
                    lane = _Lane(number, conjunction, unmet)
                    parted.setdefault(("at", rule.tenant), []).append(lane)
                    continue
                lane = _Lane(number, tuple(each for each in conjunction if each != pin), unmet)
                for tenant in pinning[pin >> 1]:
                    if visible(rule.tenant, tenant):
                        parted.setdefault(("is", tenant), []).append(lane)
        return parted

    def _residuals(self, candidate_facts: frozenset[str]) -> Residuals:
        """What can neither be indexed nor answered once for a candidate, numbered."""
        programs: list[Program] = []
        asks: list[bool] = []
        for number, atom in enumerate(self._atoms):
            if atom.asked is None and not atom.candidate:
                atom.residual = len(programs)
                programs.append(self._program(number))
                asks.append(bool(facts_of(atom.node) & candidate_facts))
        return Residuals(programs, asks, Frame(self._schema), self._schema)

    def _program(self, atom: int) -> Program:
        program = self._programs.get(atom)
        if program is None:
            program = self._programs[atom] = Program(self._atoms[atom].node, self._schema)
        return program

    def _build(self, key: tuple[str, str]) -> Part:
        lanes = self._lanes[key]
        builder = _Builder(self._atoms, self._unary)
        for lane in lanes:
            builder.add(lane, lower=self._rules[lane.rule].hit.effect == "allow")
        part = Part(
            len(self._lanes_of),
            Index(len(lanes), builder.lower, builder.keys()),
            [lane.rule for lane in lanes],
            builder.flags,
            builder.residuals,
        )
        self._lanes_of.append(lanes)
        self._built[key] = part
        return part

    def _unary(self, number: int) -> Callable[[object], int]:
        """What atom `number` answers for a value of the one fact that it asks about."""
        (fact,) = facts_of(self._atoms[number].node)
        program = self._program(number)

        def answer(value: object) -> int:
            self._frame.use(self._schema.request({fact: value}))
            holds, error = program.evaluate(self._frame)
            return -1 if error else int(holds)

        return answer


class _Builder:
    """Collects the lanes of one part: their flags, residuals, and tests by what they look at."""

    def __init__(
        self, atoms: Sequence[_Atom], unary: Callable[[int], Callable[[object], int]]
    ) -> None:
        self.lower: list[int] = []
        self.flags: list[int] = []
        self.residuals: list[tuple[tuple[int, bool, bool], ...]] = []
        self._atoms = atoms
        self._unary = unary
        self._tests: dict[_Look, dict[object, Asked]] = {}

    def add(self, lane: _Lane, *, lower: bool) -> None:
        at = len(self.flags)
        if lower:
            self.lower.append(at)
        residuals: list[tuple[int, bool, bool]] = []
        sets: dict[_Look, frozenset[str]] = {}
        for literal in lane.conjunction:
            atom, negated = self._atoms[literal >> 1], bool(literal & 1)
            if atom.candidate:
                continue
            if atom.asked is None:
                residuals.append((atom.residual, negated, lower))
                continue
            look = _Look(atom.asked.kind, atom.asked.fact, atom.asked.entry)
            values = atom.asked.values
            if look.kind in (KeyKind.VALUE, KeyKind.ENTRY) and values is not None and not negated:
                sets[look] = sets.get(look, values) & values
            else:
                self._test(look, literal, atom.asked, negated=negated, number=literal >> 1, at=at)
        for look, values in sets.items():
            asked = Predicate(look.kind, look.fact, look.entry, values)
            self._test(look, values, asked, negated=False, number=-1, at=at)
        self.residuals.append(tuple(residuals))
        self.flags.append(
            _UNMET * lane.unmet
            + _DOUBT * _doubtful(self._atoms, lane.conjunction)
            + _RESIDUAL * bool(residuals)
        )

    def keys(self) -> list[tuple[str, str, str | None, Sequence[Asked]]]:
        """What the index looks at: what most lanes ask first, one fact's looks together."""
        counts = {
            look: sum(len(test.lanes) for test in tests.values())
            for look, tests in self._tests.items()
        }
        most: dict[str, int] = {}
        for look, count in counts.items():
            most[look.fact] = max(most.get(look.fact, 0), count)
        ordered = sorted(counts, key=lambda look: (-most[look.fact], look.fact, -counts[look]))
        return [
            (look.kind.value, look.fact, look.entry, list(self._tests[look].values()))
            for look in ordered
        ]

    def _test(
        self, look: "_Look", key: object, asked: Predicate, *, negated: bool, number: int, at: int
    ) -> None:
        tests = self._tests.setdefault(look, {})
        test = tests.get(key)
        if test is None:
            folded = look.kind in _FOLDED
            unary = self._unary(number) if folded else _never_asked
            test = tests[key] = Asked(asked.values, asked.ranges, negated, unary, [])
        test.lanes.append(at)


def _doubtful(atoms: Sequence[_Atom], conjunction: Conjunction) -> bool:
    """Whether it may be an error, those of its literals considered that say an entry is there."""
    doubted = [literal >> 1 for literal in conjunction if atoms[literal >> 1].doubtful]
    if not doubted:
        return False
    asked = [atoms[literal >> 1].presence for literal in conjunction if not literal & 1]
    present = frozenset(each for each in asked if each is not None)
    return any(can_err(atoms[number].node, present) for number in doubted)


class _Look(NamedTuple):
    """One way to look at one fact."""

    kind: KeyKind
    fact: str
    entry: str | None


_FOLDED = frozenset((KeyKind.FOLD_STRING, KeyKind.FOLD_BOOL, KeyKind.FOLD_STRINGS))


def _never_asked(value: object) -> int:
    raise AssertionError(f"only folded tests are asked: `{value}`")


def _conjunctions(rule: RuleForm) -> Iterable[tuple[Conjunction, bool]]:
    yield from ((conjunction, False) for conjunction in rule.matches)
    yield from ((conjunction, True) for conjunction in rule.unmet)
