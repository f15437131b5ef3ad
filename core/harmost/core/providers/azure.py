"""Codec for classic deployments of Azure OpenAI; its v1 address speaks codecs `openai` and `openai-responses`.

Source: Azure/azure-rest-api-specs, cognitiveservices, AzureOpenAI `inference`; a model's vendor name is
that of its deployment.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from harmost.core.providers.codec import HttpRequest, UpstreamRequest
from harmost.core.providers.embed import EmbedRequest
from harmost.core.providers.embed_openai import OpenAiEmbedCodec
from harmost.core.providers.openai import OpenAiCodec

__all__ = ["API_VERSION", "AzureCodec", "AzureEmbedCodec", "is_api_version"]

API_VERSION = "2024-10-21"  # the last one that is no preview
_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(-preview)?", re.ASCII)


def is_api_version(text: str) -> bool:
    """Whether `text` is written as the vendor's versions are."""
    return _VERSION.fullmatch(text) is not None


class AzureCodec(OpenAiCodec):
    """chat.completions of the deployment that the path names. The base URL is the resource's, without path."""

    def __init__(self, api_version: str = API_VERSION) -> None:
        self._api_version = api_version

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        return _to_deployment(super().request(request), request.vendor_model_id, self._api_version)

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """The key as `api-key`; none when `secret` is empty. Entra's tokens travel as `auth` says."""
        return {"api-key": secret} if secret else {}


class AzureEmbedCodec(OpenAiEmbedCodec):
    """`/embeddings` of the deployment that the path names."""

    def __init__(self, api_version: str = API_VERSION) -> None:
        self._api_version = api_version

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        return _to_deployment(super().request(request), request.vendor_model_id, self._api_version)


def _to_deployment(request: HttpRequest, name: str, api_version: str) -> HttpRequest:
    path = f"/openai/deployments/{quote(name, safe='')}{request.path}?api-version={api_version}"
    return msgspec.structs.replace(request, path=path)
