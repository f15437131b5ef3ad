"""Whose a seal of reasoning is: each vendor refuses a request that bears another's.

Google's are marked where callers get them. Those of the others are base64, which holds no colon, as
their vendors gave them. A caller may hand back anything.
"""

__all__ = ["GOOGLE", "is_base64", "of_google"]

GOOGLE = b"gemini:"


def of_google(seal: bytes) -> str:
    """Google's own words for `seal`; "": it is none of Google's."""
    if not seal.startswith(GOOGLE) or not seal.isascii():
        return ""
    return seal.removeprefix(GOOGLE).decode("ascii")


def is_base64(seal: bytes) -> bool:
    """Whether it can be of a vendor that hands its seals out as they are."""
    return bool(seal) and seal.isascii() and b":" not in seal
