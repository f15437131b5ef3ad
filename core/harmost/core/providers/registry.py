"""Finds a codec by the name that a `Provider` document gives."""

from harmost.core.errors import NotFound
from harmost.core.providers.anthropic import AnthropicCodec
from harmost.core.providers.codec import Codec
from harmost.core.providers.openai import OpenAiCodec

__all__ = ["CODECS", "codec"]

CODECS: dict[str, Codec] = {"openai": OpenAiCodec(), "anthropic": AnthropicCodec()}


def codec(name: str) -> Codec:
    """The codec called `name`; one instance serves every attempt, since codecs hold no state."""
    try:
        return CODECS[name]
    except KeyError:
        raise NotFound(f"no codec is called `{name}`: use one of {', '.join(CODECS)}") from None
