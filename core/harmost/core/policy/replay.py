"""Decides recorded calls again with other policies, and says in what way decisions change.

Models are as the other documents have them now; the time is the call's own, so an exception that
held then holds again. Facts that are not recorded have their default.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import Candidate, Candidates, Engine
from harmost.core.policy.vector import FactVector, Outcome, decoded, outcome_of

__all__ = ["CHANGES", "Flip", "Group", "Recorded", "Replay", "ReplayChange", "changes"]

ReplayChange = Literal["allow_to_deny", "deny_to_allow", "candidates", "redactions", "caps"]
CHANGES: tuple[ReplayChange, ...] = (
    "allow_to_deny",
    "deny_to_allow",
    "candidates",
    "redactions",
    "caps",
)
GROUPS_MAX = 10_000  # tenants times profiles; what comes beyond is counted as one
CANDIDATES_KEPT_MAX = 1_000  # lists of models: profiles times steps
_NS_PER_S = 1_000_000_000
_OTHERS = ("", "")


class Recorded(NamedTuple):
    """A fact vector as it was kept, and whose it is."""

    record_id: str
    tenant: str
    profile: str
    started_ns: int
    vector: bytes


class Flip(NamedTuple):
    """A decision that would be another."""

    recorded: Recorded
    before: Outcome
    after: Decision
    changes: tuple[ReplayChange, ...]


@dataclass(slots=True)
class Group:
    """Counts of one tenant and profile."""

    decisions: int = 0
    flips: int = 0
    allow_to_deny: int = 0
    deny_to_allow: int = 0


@dataclass(slots=True)
class Replay:
    """Goes through recorded decisions with `engine`, which is its own, and counts. One thread at a time.

    `candidate_of` makes a model's candidate; None: there is no such model any more.
    """

    engine: Engine
    candidate_of: Callable[[str], Candidate | None]
    decisions: int = 0
    flips: int = 0
    skipped: int = 0
    counts: dict[ReplayChange, int] = field(default_factory=lambda: dict.fromkeys(CHANGES, 0))
    groups: dict[tuple[str, str], Group] = field(default_factory=dict[tuple[str, str], Group])
    _candidates: dict[tuple[str, ...], Candidates] = field(
        default_factory=dict[tuple[str, ...], Candidates]
    )
    # What the engine's numbers for redactions mean, once each was met.
    _redactions: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=lambda: {0: ()})

    def over(self, recorded: Iterable[Recorded], *, flips_max: int) -> list[Flip]:
        """Decide each again; the first `flips_max` that change. All are counted."""
        found: list[Flip] = []
        for each in recorded:
            try:
                flip = self._again(each, decoded(each.vector))
            except InvalidInput:  # not bytes of ours, or facts of other types
                self.skipped += 1
                continue
            if flip is not None and len(found) < flips_max:
                found.append(flip)
        return found

    def most_flipped(self, groups_max: int) -> list[tuple[tuple[str, str], Group]]:
        """Groups with flips, most first."""
        flipped = [item for item in self.groups.items() if item[1].flips]
        return sorted(flipped, key=lambda item: (-item[1].flips, item[0]))[:groups_max]

    def _again(self, recorded: Recorded, vector: FactVector) -> Flip | None:
        candidates = self._prepared(vector.candidates)
        if not candidates.count:
            self.skipped += 1
            return None
        now_s = recorded.started_ns // _NS_PER_S
        if self._is_same(vector, candidates, now_s):
            self._count(recorded, ())
            return None
        after = self.engine.decide(vector.facts, candidates, now_s=now_s)
        ways = changes(vector.outcome, outcome_of(after))
        self._count(recorded, ways)
        return Flip(recorded, vector.outcome, after, ways) if ways else None

    def _is_same(self, vector: FactVector, candidates: Candidates, now_s: int) -> bool:
        """Whether the decision certainly is as it was: what most are, without making one."""
        denied, remaining, redactions, *caps = self.engine.outcome(
            vector.facts, candidates, now_s=now_s
        )
        before = vector.outcome
        if denied >= 0 or before.denied_by is not None:
            return denied >= 0 and before.denied_by is not None
        meaning = self._redactions.get(redactions)
        if meaning is None:
            after = self.engine.decide(vector.facts, candidates, now_s=now_s)
            meaning = self._redactions[redactions] = outcome_of(after).redactions
        return (
            before.candidates == _remaining(candidates, remaining)
            and before.redactions == meaning
            and [before.output_tokens_max, before.usd_nanos_per_1k_tokens_max] == caps
        )

    def _prepared(self, names: tuple[str, ...]) -> Candidates:
        found = self._candidates.get(names)
        if found is None:
            if len(self._candidates) >= CANDIDATES_KEPT_MAX:
                self._candidates.clear()
            known = (self.candidate_of(name) for name in names)
            given = [each for each in known if each is not None]
            found = self._candidates[names] = self.engine.prepare(given)
        return found

    def _count(self, recorded: Recorded, ways: tuple[ReplayChange, ...]) -> None:
        self.decisions += 1
        key = (recorded.tenant, recorded.profile)
        group = self.groups.get(key)
        if group is None:
            key = key if len(self.groups) < GROUPS_MAX else _OTHERS
            group = self.groups.setdefault(key, Group())
        group.decisions += 1
        if not ways:
            return
        self.flips += 1
        group.flips += 1
        group.allow_to_deny += "allow_to_deny" in ways
        group.deny_to_allow += "deny_to_allow" in ways
        for way in ways:
            self.counts[way] += 1


def _remaining(candidates: Candidates, bits: int) -> tuple[str, ...]:
    """The names of those whose bit is set."""
    if bits == (1 << candidates.count) - 1:
        return candidates.names
    return tuple(name for number, name in enumerate(candidates.names) if bits >> number & 1)


def changes(before: Outcome, after: Outcome) -> tuple[ReplayChange, ...]:
    """In what way `after` is another decision; () where it is the same.

    Another rule that denies is no change. A call that is denied, before or after, has nothing else.
    """
    if before.denied_by is not None or after.denied_by is not None:
        if before.denied_by is None:
            return ("allow_to_deny",)
        return ("deny_to_allow",) if after.denied_by is None else ()
    found: list[ReplayChange] = []
    if before.candidates != after.candidates:
        found.append("candidates")
    if before.redactions != after.redactions:
        found.append("redactions")
    if (before.output_tokens_max, before.usd_nanos_per_1k_tokens_max) != (
        after.output_tokens_max,
        after.usd_nanos_per_1k_tokens_max,
    ):
        found.append("caps")
    return tuple(found)
