"""Finds the format for vectors of a `Provider` document. One that is added is added here."""

from collections.abc import Callable

from harmost.core.providers.azure import API_VERSION, AzureEmbedCodec
from harmost.core.providers.embed import EmbedCodec
from harmost.core.providers.embed_bedrock import BedrockEmbedCodec
from harmost.core.providers.embed_cohere import CohereEmbedCodec
from harmost.core.providers.embed_gemini import GeminiEmbedCodec, VertexEmbedCodec
from harmost.core.providers.embed_openai import OpenAiEmbedCodec
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["EMBED_CODECS", "embed_codec_of"]


def _gemini(spec: ProviderSpec) -> EmbedCodec:
    """Vertex is where the address names a project."""
    return VertexEmbedCodec() if "/projects/" in spec.base_url else GeminiEmbedCodec()


# By the name of the provider's codec. Anthropic is not here: it offers no vectors.
EMBED_CODECS: dict[str, Callable[[ProviderSpec], EmbedCodec]] = {
    "openai": lambda _: OpenAiEmbedCodec(),
    "openai-responses": lambda _: OpenAiEmbedCodec(),
    "azure": lambda spec: AzureEmbedCodec(spec.api_version or API_VERSION),
    "cohere": lambda _: CohereEmbedCodec(),
    "gemini": _gemini,
    "bedrock": lambda _: BedrockEmbedCodec(),
}


def embed_codec_of(spec: ProviderSpec) -> EmbedCodec | None:
    """The format for vectors of the provider that `spec` describes; None: it offers none."""
    make = EMBED_CODECS.get(spec.codec)
    return make(spec) if make is not None else None
