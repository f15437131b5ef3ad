"""Typed face of decide.pyx."""

from collections.abc import Callable, Sequence

from harmost.core.policy.cel.frame import Facts
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.policy.facts import FactValue
from harmost.core.policy.index.index import Index
from harmost.core.policy.index.residual import Residuals
from harmost.core.policy.index.ruleset import RuleNumbers
from harmost.core.policy.match import Candidate

class Part:
    """An index, and what its lanes stand for. `number` is its place among all parts of an engine.

    `rule_of` each lane, ascending; `flags` of each: 1 it says where `require` fails, 2 an error may
    have a say in it, 4 it has residuals, which are (condition, negated, lower).
    """

    index: Index
    number: int
    has_residuals: bool

    def __init__(
        self,
        number: int,
        index: Index,
        rule_of: Sequence[int],
        flags: Sequence[int],
        residuals: list[tuple[tuple[int, bool, bool], ...]],
    ) -> None: ...

class View:
    """The parts that bind a tenant. `outside`: by rollout, 1 if that tenant is not in it."""

    def __init__(self, parts: list[Part], outside: bytes) -> None: ...

class Candidates:
    """A list of models that calls could go to, and where rules match by what is fixed about them.

    Made once for a list and snapshot by `Engine.prepare`; at most CANDIDATES_MAX. `masks_of` gives for
    a part the candidates, as the bits of 8 bytes, where each lane is not refuted; `answers` is for it to
    keep, by atom: where that is true and where it is an error.
    """

    names: tuple[str, ...]
    given: tuple[Candidate, ...]
    facts: list[Facts]
    count: int
    answers: dict[int, tuple[int, int]]

    def __init__(
        self,
        given: tuple[Candidate, ...],
        facts: list[Facts],
        masks_of: Callable[[Candidates, Part], bytes],
    ) -> None: ...

class Decider:
    """Matches and combines. `named` is what a rule's hit is, `elsewhere` outside of its rollout.

    `errors_of` gives the error that has a say in the hit of each of some rules, "" if none has; it is
    asked only where one may. One thread at a time.
    """

    def __init__(
        self,
        rules: Sequence[RuleNumbers],
        named: list[RuleHit],
        elsewhere: list[RuleHit | None],
        *,
        generation: int,
        redactions_of: Callable[[int], tuple[Redaction, ...]],
        residuals: Residuals,
        errors_of: Callable[[list[int], dict[str, FactValue], Candidates], list[str]],
    ) -> None: ...
    def decide(
        self, view: View, request: dict[str, FactValue], candidates: Candidates, now_s: int
    ) -> Decision | None:
        """The decision; None if a fact is not of its declared type, which no index can answer."""

    def outcome(
        self, view: View, request: dict[str, FactValue], candidates: Candidates, now_s: int
    ) -> tuple[int, int, int, int, int] | None:
        """The same in numbers: the rule that denies or -1, the candidates that remain as bits, the
        redactions as bits, the caps of output tokens and of USD nanos for 1,000 tokens."""
