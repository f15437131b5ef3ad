"""Splits an event stream of AWS (`application/vnd.amazon.eventstream`) into a JSON text a message.

An event is `{"<its type>": <its payload>}`. An exception is `{"exception": {"<its type>": <its
payload>}}`, an error `{"exception": {"<its code>": {"message": "<its message>"}}}`. No payload is
`{}`. Whether a payload is JSON is not looked at, nor are other headers than those that say the type.

Source: Smithy, "Amazon Event Stream Specification".
"""

__all__ = ["AwsScanner"]

class AwsScanner:
    """The same bytes cut anywhere give the same texts; O(bytes).

    Holds at most `bytes_max` of an unfinished message, and a text as large. One that says it is
    larger sets `overflowed`; one whose checksums, lengths or headers are wrong sets `corrupt`.
    After either nothing more comes.
    """

    def __init__(self, *, bytes_max: int = ...) -> None: ...
    @property
    def overflowed(self) -> bool:
        """A message was larger than the bound."""
    @property
    def corrupt(self) -> bool:
        """The bytes are no event stream of AWS, or were changed on the way."""
    def feed(self, data: bytes) -> list[bytes]:
        """Texts of the messages that `data` completes."""
