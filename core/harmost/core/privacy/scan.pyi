"""Find e-mail addresses and card numbers in a text, in linear time."""

from harmost.core.privacy.span import Span

__all__ = ["find"]

def find(text: str) -> list[Span]:
    """Every e-mail address ("email") and card number ("pan") in `text`, by start, longer first.

    Two spans of one class never overlap; an address and a card number may. O(characters), about
    4 us a KB; each character is looked at a bounded number of times whatever the text is.

    An address is a local part of letters, digits and ``._%+-'`` before `@`, then a domain of two
    labels or more whose last begins with a letter. Quoted local parts and IP literals are not found.

    A card number is 12 to 19 decimal digits of any script, in groups with single spaces or hyphens
    between them, that begins with a prefix of a card scheme, has a length of that scheme and the
    right check digit (Luhn, ISO/IEC 7812-1). It takes whole groups only, and none that are decimals
    of a number ("0.4111..."). Overlapping readings become one span.
    """
