"""Splits an event stream (`text/event-stream`) into the data of its events. Knows no vendor.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream". `event`, `id` and `retry` are
left out: vendors repeat the name inside the data, and an answer is never resumed.
"""

__all__ = ["SseScanner"]

class SseScanner:
    """The same bytes cut anywhere give the same events; O(bytes).

    Holds at most `bytes_max` of an unfinished event, twice over while its lines are joined. One
    that is larger sets `overflowed`, and nothing more comes.
    """

    def __init__(self, *, bytes_max: int = ...) -> None: ...
    @property
    def overflowed(self) -> bool:
        """An event was larger than the bound."""
    def feed(self, data: bytes) -> list[bytes]:
        """Data of the events that `data` completes: lines joined by LF, not decoded."""
