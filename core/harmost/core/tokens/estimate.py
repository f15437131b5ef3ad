"""How many tokens a request can have at the most: a bound that holds for every text and every model.

Close guesses are elsewhere: of any model in measure.pyx, of one as it was learned in calibration.py.
Only the bound decides what is held.
"""

__all__ = [
    "MESSAGE_OVERHEAD_TOKENS",
    "REQUEST_OVERHEAD_TOKENS",
    "bytes_bound",
    "estimate_of_bytes",
    "template_tokens",
]

# What chat templates add. A message: role, separators and end marker (ChatML 4 to 5, Llama 3 about 5).
MESSAGE_OVERHEAD_TOKENS = 16
# A request: start of text, the answer's own header, and a default system prompt where a template has
# one (Llama 3 states its knowledge cutoff and the date in about 30 tokens).
REQUEST_OVERHEAD_TOKENS = 64

# ChatML's, which many use.
_MESSAGE_TOKENS = 4
_REQUEST_TOKENS = 3

# English and code, of usual tokenizers.
_BYTES_PER_TOKEN = 4


def bytes_bound(utf8_bytes: int, messages: int) -> int:
    """No provider bills more input tokens of so many messages of so many bytes together. O(1).

    A token covers at least one byte of UTF-8, so text has no more tokens than bytes; to that comes what
    the chat template adds. A tokenizer that normalises first (Qwen's: NFC) counts the bytes of the
    normal form, which are more only for a few characters that are never in it.
    """
    return REQUEST_OVERHEAD_TOKENS + messages * MESSAGE_OVERHEAD_TOKENS + utf8_bytes


def template_tokens(messages: int) -> int:
    """What a usual chat template adds to so many messages. O(1)."""
    return _REQUEST_TOKENS + messages * _MESSAGE_TOKENS


def estimate_of_bytes(text_bytes: int) -> int:
    """About how many tokens a text has that was not kept; low for other scripts than Latin. O(1)."""
    return -(-text_bytes // _BYTES_PER_TOKEN)
