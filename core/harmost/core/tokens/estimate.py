"""How many tokens a text has: a bound that holds for certain, and a guess that is close.

The vendors' tokenizers are not asked: most are secret and none is needed to keep a budget.
"""

from collections.abc import Iterable

from harmost.core.chat import Message

__all__ = [
    "MESSAGE_OVERHEAD_TOKENS",
    "REQUEST_OVERHEAD_TOKENS",
    "estimate",
    "estimate_of_bytes",
    "input_tokens_max",
]

# What chat templates add. A message: role, separators and end marker (ChatML 4 to 5, Llama 3 about 5).
MESSAGE_OVERHEAD_TOKENS = 16
# A request: start of text, the answer's own header, and a default system prompt where a template has
# one (Llama 3 states its knowledge cutoff and the date in about 30 tokens).
REQUEST_OVERHEAD_TOKENS = 64

# Bytes for one token of usual tokenizers: English and code in ASCII, other scripts in UTF-8.
_ASCII_BYTES_PER_TOKEN = 4
_OTHER_BYTES_PER_TOKEN = 3


def input_tokens_max(messages: Iterable[Message]) -> int:
    """No provider bills more input tokens than this. O(characters).

    A token covers at least one byte of UTF-8, so text has no more tokens than bytes; to that comes what
    the chat template adds. A tokenizer that normalises first (Qwen's: NFC) counts the bytes of the
    normal form, which are more only for a few characters that are never in it.
    """
    text_bytes = sum(MESSAGE_OVERHEAD_TOKENS + _utf8_bytes(message.text) for message in messages)
    return REQUEST_OVERHEAD_TOKENS + text_bytes


def estimate(text: str) -> int:
    """About how many tokens `text` has, 0 for nothing. O(characters).

    Within a third for English prose; code, digits and rare scripts have more. Not for money that
    must not be exceeded: input_tokens_max is.
    """
    ascii_bytes = len(text.encode("ascii", "ignore"))
    other_bytes = _utf8_bytes(text) - ascii_bytes
    tokens = -(-ascii_bytes // _ASCII_BYTES_PER_TOKEN)
    return tokens + -(-other_bytes // _OTHER_BYTES_PER_TOKEN)


def estimate_of_bytes(text_bytes: int) -> int:
    """The same of a text that was not kept, from its size in UTF-8; low for other scripts. O(1)."""
    return -(-text_bytes // _ASCII_BYTES_PER_TOKEN)


def _utf8_bytes(text: str) -> int:
    # A lone surrogate, which JSON can carry, cannot be encoded strictly but costs three bytes.
    return len(text.encode("utf-8", "surrogatepass"))
