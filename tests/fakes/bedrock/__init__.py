"""Amazon Bedrock's Converse, and our `bedrock` codec as it calls it."""

from typing import Any

import msgspec

from fakes.bedrock.fake import UNOFFERED, BedrockFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = BedrockFake
MODEL = "eu.anthropic.claude-opus-4-7-v1:0"
ENVIRONMENT = {"BEDROCK_FAKE_KEY": "bedrock-api-key-fake"}


def spec(url: str, **changes: Any) -> ProviderSpec:
    """How to call the fake at `url` with a key of Bedrock."""
    said = ProviderSpec(
        codec="bedrock", base_url=url, credentials="env:BEDROCK_FAKE_KEY", http2=False
    )
    return msgspec.structs.replace(said, **changes)
