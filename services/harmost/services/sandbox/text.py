"""Deterministic words and draws. Every token is a piece of exactly four bytes of ASCII.

So the rule by which the sandbox counts, four UTF-8 bytes a token, holds for prompt and answer alike.
"""

import math
from statistics import NormalDist

__all__ = ["TOKEN_BYTES", "lognormal", "tokens_of", "words"]

TOKEN_BYTES = 4

_WORDS = (
    "the and for are but not you all can her was one our out day get has him his how man new now "
    "old see two way who boy did its let put say she too use dad mom act add age ago air arm art "
    "ask bad bag bar bed big bit box bus buy car cat cup cut dog dry ear eat egg end eye far few "
    "fit fly fun gas got gun hot ice job key kid law lay led leg lie lot low map met mix mud net "
    "nor off oil own pay pen pet pie pin pot ran raw red rest rid row run sad sat sea set sir sit "
    "six sky son sun tax tea ten tie tip top toy try van via war wet why win won yes yet zoo"
)
_PIECES = [f"{word} ".encode() for word in _WORDS.split() if len(word) == TOKEN_BYTES - 1]
_TEXT_TOKENS = 1 << 16
_MASK = (1 << 64) - 1
_NORMAL = NormalDist()


def _mixed(seed: int) -> int:
    """64 well-mixed bits of `seed`. Source: Steele, Lea, Flood, "splitmix64", OOPSLA 2014."""
    bits = (seed + 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


# One long text, drawn once: an answer is a slice of it, which costs no more than copying.
_TEXT = b"".join(_PIECES[_mixed(i) % len(_PIECES)] for i in range(_TEXT_TOKENS))


def words(seed: int, tokens: int) -> bytes:
    """Exactly `tokens` tokens of text; the same `seed` gives the same text, and ends in a stop."""
    if tokens == 0:
        return b""
    start = _mixed(seed) % _TEXT_TOKENS * TOKEN_BYTES
    size = tokens * TOKEN_BYTES
    text = _TEXT[start : start + size]
    while len(text) < size:
        text += _TEXT[: size - len(text)]
    return text[:-1] + b"."


def tokens_of(text_bytes: int) -> int:
    """Tokens of `text_bytes` bytes of text, rounded up."""
    return (text_bytes + TOKEN_BYTES - 1) // TOKEN_BYTES


def lognormal(seed: int, *, median: float, sigma: float) -> float:
    """A draw that is `median` half the time above, half below; the same for the same `seed`."""
    if sigma == 0 or median == 0:
        return median
    uniform = ((_mixed(seed) >> 11) + 0.5) / (1 << 53)
    return median * math.exp(sigma * _NORMAL.inv_cdf(uniform))
