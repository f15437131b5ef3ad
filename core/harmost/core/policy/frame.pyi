"""Typed face of frame.pyx."""

from collections.abc import Mapping

class Schema:
    """Names and types of the slots: those of the request first, then those of a candidate.

    `names` and `types` are by slot; slots from `split` on are the candidate's.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    split: int

    def __init__(
        self,
        request: Mapping[str, str],
        candidate: Mapping[str, str] = ...,
        *,
        defaults: bool,
    ) -> None:
        """Types by name. `defaults`: whether a fact that is not given is the empty value of its type,
        rather than an error."""

    def slot(self, name: str) -> int:
        """The slot of `name`; KeyError if there is none."""

    def request(self, values: Mapping[str, object]) -> Facts:
        """The request facts, converted to C once. A value of another type than declared is an error
        of whatever asks for it; others in `values` are ignored."""

    def candidate(self, values: Mapping[str, object]) -> Facts:
        """The same for the facts of one candidate."""

class Facts:
    """One scope's facts in C. Immutable; keeps alive what it points to. May be shared by frames."""

class Frame:
    """What programs run on: facts of a request and of one candidate. Holds the scratch memory of an
    evaluation, so one thread at a time uses it."""

    def __init__(self, schema: Schema) -> None: ...
    def use(self, facts: Facts) -> None:
        """Put `facts` in their place: the request's or the candidate's. O(1), allocates nothing."""

    def clear_candidate(self) -> None:
        """No candidate: its facts are errors."""

def fact_schema() -> Schema:
    """Slots of the declared facts in the order of facts.yaml."""
