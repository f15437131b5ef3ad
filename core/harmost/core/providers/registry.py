"""Finds the codec of a `Provider` document. A codec that is added is added here, and to `ProviderSpec.codec`."""

from collections.abc import Callable
from functools import lru_cache

from harmost.core.errors import InvalidInput, NotFound
from harmost.core.providers.anthropic import VERSIONS as ANTHROPIC_VERSIONS
from harmost.core.providers.anthropic import AnthropicCodec
from harmost.core.providers.azure import API_VERSION as AZURE_VERSION
from harmost.core.providers.azure import AzureCodec, is_api_version
from harmost.core.providers.bedrock import BedrockCodec
from harmost.core.providers.codec import Codec
from harmost.core.providers.cohere import CohereCodec
from harmost.core.providers.compatible import CompatibleCodec
from harmost.core.providers.gemini import GeminiCodec
from harmost.core.providers.openai import OpenAiCodec
from harmost.core.providers.openai_responses import ResponsesCodec
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.resources.quirks import Quirks

__all__ = ["CODECS", "codec", "codec_of"]


def _only(made: Callable[[], Codec]) -> Callable[[ProviderSpec], Codec]:
    """The codec of a format that has one version."""

    def make(spec: ProviderSpec) -> Codec:
        if spec.api_version:
            raise InvalidInput(f"codec `{spec.codec}` has one `api_version`: remove it")
        return made()

    return make


def _anthropic(spec: ProviderSpec) -> Codec:
    version = spec.api_version or ANTHROPIC_VERSIONS[0]
    if version not in ANTHROPIC_VERSIONS:
        known = " or ".join(f"`{known}`" for known in ANTHROPIC_VERSIONS)
        raise InvalidInput(
            f"codec `anthropic` does not speak `api_version` `{version}`: use {known}"
        )
    return AnthropicCodec(version)


def _openai(spec: ProviderSpec) -> Codec:
    """A server without quirks is OpenAI."""
    quirks = spec.quirks
    return _only(OpenAiCodec if quirks == Quirks() else lambda: CompatibleCodec(quirks))(spec)


def _gemini(spec: ProviderSpec) -> Codec:
    """Vertex is where the address names a project."""
    if spec.api_version:
        raise InvalidInput("codec `gemini` has its version in `base_url`: remove `api_version`")
    return GeminiCodec(vertex="/projects/" in spec.base_url, files_url=spec.base_url.rstrip("/"))


def _azure(spec: ProviderSpec) -> Codec:
    version = spec.api_version or AZURE_VERSION
    if not is_api_version(version):
        raise InvalidInput(
            f"codec `azure` knows no `api_version` `{version}`: write one like `{AZURE_VERSION}`, or "
            "call the v1 address with codec `openai`"
        )
    return AzureCodec(version)


# How a codec is made for the provider that a document describes. InvalidInput says what is wrong there.
CODECS: dict[str, Callable[[ProviderSpec], Codec]] = {
    "openai": _openai,
    "openai-responses": _only(ResponsesCodec),
    "azure": _azure,
    "anthropic": _anthropic,
    "bedrock": _only(BedrockCodec),
    "cohere": _only(CohereCodec),
    "gemini": _gemini,
}


@lru_cache(maxsize=64)
def codec(name: str) -> Codec:
    """The codec called `name` as a document makes it that says no more; for reading answers, it is any's."""
    try:
        make = CODECS[name]
    except KeyError:
        raise NotFound(f"no codec is called `{name}`: use one of {', '.join(CODECS)}") from None
    return make(ProviderSpec(codec=name, base_url=""))  # type: ignore[arg-type]  # pyright: ignore


def codec_of(spec: ProviderSpec) -> Codec:
    """The codec for requests to the provider that `spec` describes; it holds no state.

    InvalidInput where `spec` says what its format does not know: documents are checked for it.
    """
    if spec.quirks != Quirks() and spec.codec != "openai":
        raise InvalidInput(
            f"codec `{spec.codec}` has no `quirks`, which are of `openai`: remove them"
        )
    return CODECS[spec.codec](spec)
