"""Reads back the rows that a journal has written, in order, while it goes on writing."""

from collections.abc import Sequence

from harmost.core.audit.framing import HEADER_BYTES, Frame
from harmost.services.journal.segments import Segment

__all__ = ["Reader"]


class Reader:
    """Reads on from the row after `after`. Rows that are deleted meanwhile are passed over."""

    def __init__(self, segments: Sequence[Segment], *, after: int) -> None:
        self._segments = segments
        self._segment: Segment | None = None
        self._sequence = after + 1  # the row that is read next
        self._offset = HEADER_BYTES
        self._after = after

    @property
    def behind(self) -> bool:
        """Rows are written that have not been read."""
        return self._sequence < self._segments[-1].next_sequence

    def read(self, bytes_max: int) -> list[Frame]:
        """The next rows, about `bytes_max` of them; none only where there are none, or where they
        stand before the first wanted row in its segment: ask `behind`.

        On the loop: pages just written, some 0.5 ms for 64 KiB. Raises ServiceUnavailable for damage.
        """
        if not self.behind:
            return []
        segment = next(item for item in self._segments if self._sequence < item.next_sequence)
        if segment is not self._segment:
            self._segment = segment
            self._sequence = segment.first_sequence
            self._offset = HEADER_BYTES
        frames = segment.read(sequence=self._sequence, offset=self._offset, bytes_max=bytes_max)
        self._sequence = frames[-1].sequence + 1
        self._offset = frames[-1].end
        return [frame for frame in frames if frame.sequence > self._after]
