"""Google's Gemini API (AI Studio) on loopback."""

from collections.abc import Mapping

import msgspec

from fakes.gemini.fake import KEY, MODEL, GeminiFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = GeminiFake
ENVIRONMENT: Mapping[str, str] = {"GEMINI_API_KEY": KEY}
# What the vendor has no form for, with where it says so.
UNOFFERED: Mapping[str, str] = {}


def spec(url: str, **changes: object) -> ProviderSpec:
    """The provider that is served at `url`."""
    provider = ProviderSpec(
        codec="gemini",
        base_url=f"{url}/v1beta",
        credentials="env:GEMINI_API_KEY",
        idle_timeout_ms=300,
    )
    return msgspec.structs.replace(provider, **changes)
