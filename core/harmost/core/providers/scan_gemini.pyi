"""Reads the common piece of Gemini's answer as scan_delta.pyi does those of others."""

__all__ = ["gemini_text"]

def gemini_text(data: bytes, *, id_known: bool = True) -> str | None:
    """The text in one chunk of streamGenerateContent, perhaps empty; None: ask the whole decoder.

    Where the id is known, the usage that each chunk repeats is passed over: the last one, which says why
    the answer ends, is never read here.
    """
