"""Typed face of frame.pyx."""

from collections.abc import Mapping

class Schema:
    """Names and types of the slots: those of the request first, then those of a candidate.

    `names` and `types` are by slot; slots from `split` on are the candidate's. Programs, facts and
    frames of one schema object go together.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def split(self) -> int: ...
    @property
    def defaults(self) -> bool: ...
    def __init__(
        self,
        request: Mapping[str, str],
        candidate: Mapping[str, str] | None = None,
        *,
        defaults: bool,
    ) -> None:
        """Types by name. `defaults`: whether a fact that is not given is the empty value of its type,
        rather than an error."""

    def slot(self, name: str) -> int:
        """The slot of `name`; KeyError if there is none."""

    def request(self, values: Mapping[str, object]) -> Facts:
        """The request facts among `values`, converted to C once: about 2 us for a usual call.

        Lists must be `list`, maps `dict`. A value of another type than declared is an error of
        whatever asks for it.
        """

    def candidate(self, values: Mapping[str, object]) -> Facts:
        """The facts of one candidate among `values`, likewise."""

    def frame(self, values: Mapping[str, object]) -> Frame:
        """A frame of all facts among `values`."""

class Facts:
    """One scope's facts in C. Immutable; keeps alive what it points to. Frames may share it."""

    @property
    def schema(self) -> Schema: ...
    @property
    def of_candidate(self) -> bool: ...

class Frame:
    """What programs run on: facts of a request and of one candidate, and scratch memory.

    One thread at a time uses it. A new one has no facts: all are errors.
    """

    @property
    def schema(self) -> Schema: ...
    def __init__(self, schema: Schema) -> None: ...
    def use(self, facts: Facts) -> None:
        """Put `facts` in their place: the request's or the candidate's. O(1), allocates nothing."""

    def clear_candidate(self) -> None:
        """No candidate: its facts are errors."""
