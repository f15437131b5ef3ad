"""Are there facts for which some conditions give what is wanted? Yes with the facts, no, or not known.

A search in depth over the few values of each fact that matter (domains.py), which turns back as soon as
what is known rules the wanted out. It is bounded by steps; "no" is said only where the values that were
tried stand for all, or where the conditions contradict each other whatever the others say.

Conditions of policies ask few facts each, so this is as strong here as a solver, needs no translation,
and every "yes" was evaluated by what evaluates calls.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from harmost.core.limits import POLICY_SEARCH_STEPS_MAX
from harmost.core.policy.authoring.atoms import ANY, Outcomes, atoms_of, possible
from harmost.core.policy.authoring.domains import (
    Domain,
    Situation,
    Subject,
    domains_of,
    situation,
    subjects_of,
)
from harmost.core.policy.cel.ir import Node
from harmost.core.policy.facts import FactValue

__all__ = ["Answer", "Ask", "Goal", "Search"]

# What an atom gives in a situation: one bit.
Ask: TypeAlias = Callable[[Node, Situation], Outcomes]


class Goal(NamedTuple):
    """`node` is to give one of `wanted`."""

    node: Node
    wanted: Outcomes


class Answer(NamedTuple):
    """`facts` are set exactly where the kind is "found"; `why` where it is "undecided".

    `steps` is how many values were tried.
    """

    kind: Literal["found", "never", "undecided"]
    facts: Situation | None = None
    why: str = ""
    steps: int = 0


class Search:
    """Searches with one way of asking atoms, remembering what they said."""

    def __init__(self, ask: Ask, *, steps_max: int = POLICY_SEARCH_STEPS_MAX) -> None:
        self._ask = ask
        self._steps_max = steps_max
        self._said: dict[tuple[Node, tuple[object, ...]], Outcomes] = {}

    def find(
        self,
        goals: Sequence[Goal],
        *,
        tenant: str = "",
        only: Mapping[Subject, Sequence[FactValue | None]] | None = None,
    ) -> Answer:
        """Facts of a call at or below `tenant` that meet all `goals`. At most `steps_max` tries.

        `only` narrows a subject to some values; "never" then speaks of those.
        """
        atoms = tuple(dict.fromkeys(atom for goal in goals for atom in atoms_of(goal.node)))
        domains = domains_of(atoms, tenant=tenant)
        for subject, values in (only or {}).items():
            if subject in domains:
                domains[subject] = Domain(tuple(values), domains[subject].complete)
        loose = frozenset(
            atom
            for atom in atoms
            if len(asked := subjects_of(atom)) > 1
            or not all(domains[subject].complete for subject in asked)
        )
        tried = _Try(self, goals, atoms, domains, frozenset()).run(self._steps_max)
        if tried.found is not None:
            return Answer("found", tried.found, steps=tried.steps)
        if tried.steps >= self._steps_max:
            return Answer("undecided", why=f"{tried.steps} values were tried", steps=tried.steps)
        if not loose:
            return Answer("never", steps=tried.steps)
        # What depends on values that do not stand for all may give anything: if it is impossible
        # even so, it is impossible.
        relaxed = _Try(self, goals, atoms, domains, loose).run(self._steps_max)
        steps = tried.steps + relaxed.steps
        if relaxed.found is None and relaxed.steps < self._steps_max:
            return Answer("never", steps=steps)
        return Answer("undecided", why="not every value of its facts can be tried", steps=steps)

    def meets(self, goals: Sequence[Goal], facts: Situation) -> bool:
        """Whether `facts` meet all `goals`. Subject by subject they may, and not as one map."""
        return all(
            possible(goal.node, lambda atom: self._ask(atom, facts)) & goal.wanted for goal in goals
        )

    def said(
        self, atom: Node, subjects: tuple[Subject, ...], values: Mapping[Subject, FactValue | None]
    ) -> Outcomes:
        """What `atom` gives for `values` of its `subjects`."""
        key = atom, tuple(_hashable(values[subject]) for subject in subjects)
        if key not in self._said:
            if len(self._said) >= _SAID_MAX:
                self._said.clear()
            given = {subject: values[subject] for subject in subjects}
            self._said[key] = self._ask(atom, situation(given))
        return self._said[key]


_SAID_MAX = 200_000


class _Tried(NamedTuple):
    found: Situation | None
    steps: int


class _Try:
    """One search. Atoms in `loose` may give anything."""

    def __init__(
        self,
        search: Search,
        goals: Sequence[Goal],
        atoms: Sequence[Node],
        domains: Mapping[Subject, Domain],
        loose: frozenset[Node],
    ) -> None:
        self._search = search
        self._goals = goals
        self._loose = loose
        self._domains = domains
        self._subjects = {atom: tuple(sorted(subjects_of(atom), key=str)) for atom in atoms}
        used = {each for atom in atoms if atom not in loose for each in self._subjects[atom]}
        # What most atoms ask about first, then what has few values: both narrow the tree at its root.
        asking = Counter(each for atom in atoms for each in self._subjects[atom])
        self._order = sorted(
            used, key=lambda each: (-asking[each], len(domains[each].values), str(each))
        )
        self._values: dict[Subject, FactValue | None] = {}
        self._before: dict[Node, Outcomes] = {}  # of atoms whose subject has no value yet
        self._steps = self._steps_max = 0

    def run(self, steps_max: int) -> _Tried:
        """The first facts that meet the goals."""
        self._steps_max = steps_max
        found = situation(self._values) if self._descend(0) else None
        return _Tried(found, self._steps)

    def _descend(self, at: int) -> bool:
        if not self._hopeful():
            return False
        if at == len(self._order):
            return bool(self._loose) or self._search.meets(self._goals, situation(self._values))
        subject = self._order[at]
        for value in self._domains[subject].values:
            if self._steps >= self._steps_max:
                break
            self._steps += 1
            self._values[subject] = value
            if self._descend(at + 1):
                return True
        self._values.pop(subject, None)
        return False

    def _hopeful(self) -> bool:
        return all(possible(goal.node, self._known) & goal.wanted for goal in self._goals)

    def _known(self, atom: Node) -> Outcomes:
        if atom in self._loose:
            return ANY
        subjects = self._subjects[atom]
        if all(subject in self._values for subject in subjects):
            return self._search.said(atom, subjects, self._values)
        if len(subjects) != 1:
            return ANY
        if atom not in self._before:
            subject = subjects[0]
            outcomes = 0
            for value in self._domains[subject].values:
                outcomes |= self._search.said(atom, subjects, {subject: value})
            self._before[atom] = outcomes
        return self._before[atom]


def _hashable(value: FactValue | None) -> object:
    if isinstance(value, list):
        return tuple(value)
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value
