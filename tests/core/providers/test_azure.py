"""Classic deployments of Azure OpenAI: where they are, and how their key travels."""

import pytest

from harmost.core.chat import Message
from harmost.core.errors import InvalidInput
from harmost.core.providers.azure import AzureCodec
from harmost.core.providers.codec import UpstreamRequest
from harmost.core.providers.openai import OpenAiCodec
from harmost.core.providers.registry import codec_of
from harmost.core.resources.kinds import ProviderSpec

REQUEST = UpstreamRequest(
    vendor_model_id="gpt/4 ü?", messages=(Message.of("user", "hi"),), output_tokens_max=50
)


def spec(api_version: str) -> ProviderSpec:
    return ProviderSpec(codec="azure", base_url="https://x", api_version=api_version)


def test_the_deployment_is_in_the_path_escaped_and_the_version_in_the_query() -> None:
    said = AzureCodec().request(REQUEST)
    assert said.path == (
        "/openai/deployments/gpt%2F4%20%C3%BC%3F/chat/completions?api-version=2024-10-21"
    )
    assert said.body == OpenAiCodec().request(REQUEST).body


def test_the_key_travels_as_api_key() -> None:
    assert AzureCodec().auth_headers("k") == {"api-key": "k"}
    assert AzureCodec().auth_headers("") == {}


def test_a_version_can_be_asked_for() -> None:
    said = codec_of(spec("2025-04-01-preview")).request(REQUEST)
    assert said.path.endswith("?api-version=2025-04-01-preview")


@pytest.mark.parametrize("version", ["v1", "2024-10-21&x=1", "2024-10-21\n", "preview"])
def test_what_is_no_version_is_refused_with_what_to_write(version: str) -> None:
    with pytest.raises(InvalidInput, match="write one like `2024-10-21`, or call the v1 address"):
        codec_of(spec(version))
