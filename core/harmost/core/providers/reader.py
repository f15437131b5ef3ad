"""What readers of every format do alike: decode an event, end once, break off what did not end."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import msgspec

from harmost.core.providers.codec import Event
from harmost.core.providers.failures import UNREADABLE, broken

__all__ = ["EventReader"]

Frame = TypeVar("Frame")


class EventReader(ABC, Generic[Frame]):
    """Reads one answer, an event's data at a time; every fault becomes a `ProviderError`.

    `over`: it ended, and nothing more comes. `response_id`: the provider's own id, once known.
    """

    LAST: ClassVar[str]  # how the stream says that it is whole, for people

    def __init__(self, decoder: msgspec.json.Decoder[Frame]) -> None:
        self.over = False
        self.response_id = ""
        self._decoder = decoder

    def take(self, data: bytes) -> list[Event]:
        """What one event of the stream means."""
        events: list[Event] = []
        if self.over:
            return events
        try:
            frame = self._decoder.decode(data)
        except UNREADABLE as error:
            if data == b"[DONE]":
                self._said_done(events)
            else:
                self._end(broken(f"the stream holds what is no event: {error}"), events)
        else:
            self._take(frame, events)
        return events

    def overflow(self) -> list[Event]:
        """An event is too large to be read."""
        return self._over_with(broken("an event of the stream is larger than its bound"))

    def finish(self) -> list[Event]:
        """The body is over: nothing if it had ended, else the last word."""
        return self._over_with(self._last_word())

    @abstractmethod
    def _take(self, frame: Frame, /, events: list[Event]) -> None:
        """Add to `events` what `frame` means."""

    def _said_done(self, events: list[Event]) -> None:
        """`[DONE]` came, which OpenAI began to end streams with."""
        self._end(self._last_word(), events)

    def _last_word(self) -> Event:
        """What the answer is whose body ends, and which has not said that it is whole."""
        return broken(f"the stream ended before `{self.LAST}`")

    def _over_with(self, event: Event) -> list[Event]:
        events: list[Event] = []
        self._end(event, events)
        return events

    def _end(self, event: Event, events: list[Event]) -> None:
        if not self.over:
            self.over = True
            events.append(event)
