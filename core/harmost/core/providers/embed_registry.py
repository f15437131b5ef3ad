"""Finds the format for vectors of a `Provider` document. One that is added is added here."""

from collections.abc import Callable

from harmost.core.providers.embed import EmbedCodec
from harmost.core.providers.embed_openai import OpenAiEmbedCodec
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["EMBED_CODECS", "embed_codec_of"]

# By the name of the provider's codec. Anthropic is not here: it offers no vectors.
EMBED_CODECS: dict[str, Callable[[ProviderSpec], EmbedCodec]] = {
    "openai": lambda _: OpenAiEmbedCodec(),
}


def embed_codec_of(spec: ProviderSpec) -> EmbedCodec | None:
    """The format for vectors of the provider that `spec` describes; None: it offers none."""
    make = EMBED_CODECS.get(spec.codec)
    return make(spec) if make is not None else None
