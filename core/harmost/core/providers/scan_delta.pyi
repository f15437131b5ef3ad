"""Reads the common piece of an answer from a vendor's JSON, in one pass without an object.

A piece that says anything else than text (an end, a usage, an error, an id that is news), that is
not valid JSON throughout, or that is merely unusual (several choices, a field twice, an escape in
a field's name) is not read here: the whole decoder is asked, never a guess made. O(bytes).
"""

__all__ = ["anthropic_text", "bedrock_text", "openai_text"]

def openai_text(data: bytes, *, id_known: bool = True) -> str | None:
    """The text in one chunk of chat.completions, perhaps empty; None: ask the whole decoder."""

def anthropic_text(data: bytes) -> str | None:
    """The text in one event of messages, perhaps empty; None: ask the whole decoder."""

def bedrock_text(data: bytes) -> str | None:
    """The text in one message of ConverseStream, perhaps empty; None: ask the whole decoder."""
