"""Typed face of index.pyx."""

from collections.abc import Mapping, Sequence

from harmost.core.policy.index.predicates import Asked

class Index:
    """Which of `lanes` conjunctions a call's facts do not refute: those all of whose tests they meet.

    `keys` are kind, fact, entry and tests of each way to look at a fact:

        value         a string among constants
        entry         the string under `entry` of a map, among constants; or whether there is one
        elements      a list of strings that has its test's one value
        number        a 64-bit integer within ranges
        fold_string   a string, or an entry of a map: anything; answered when a value is first seen
        fold_bool, fold_strings

    A test that is an error refutes the lanes in `lower` only. Of one key, a lane may have one plain
    test for values.

    A scan is O(keys x lanes / 64), in C, and allocates nothing for values seen before. Rows for values
    are kept up to POLICY_ROWS_BYTES_MAX, then begun anew. One thread at a time.
    """

    @property
    def lanes(self) -> int: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def erred(self) -> bool:
        """Whether a fact of the last scan was not of its declared type; its result means nothing then."""

    def __init__(
        self,
        lanes: int,
        lower: Sequence[int],
        keys: Sequence[tuple[str, str, str | None, Sequence[Asked]]],
    ) -> None: ...
    def surviving(self, request: Mapping[str, object]) -> list[int]:
        """The lanes, ascending. A fact that is absent is the empty value of its type."""

    def forget(self) -> None:
        """Drop all rows that were built for values seen."""
