"""Anthropic's messages on loopback, in both versions of the API."""

from collections.abc import Mapping

import msgspec

from fakes.anthropic.fake import KEY, AnthropicFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = AnthropicFake
MODEL = "claude-fake-5"
ENVIRONMENT: Mapping[str, str] = {"ANTHROPIC_API_KEY": KEY}
# What the vendor has no form for, with where it says so: nothing.
UNOFFERED: Mapping[str, str] = {}


def spec(url: str, **changes: object) -> ProviderSpec:
    """The document of a provider that is the fake at `url`."""
    provider = ProviderSpec(
        codec="anthropic",
        base_url=url,
        credentials="env:ANTHROPIC_API_KEY",
        http2=False,
        idle_timeout_ms=300,
    )
    return msgspec.structs.replace(provider, **changes)
