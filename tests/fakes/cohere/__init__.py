"""Cohere's chat, version 2, and what a test needs to call it."""

from collections.abc import Mapping

from fakes.cohere.fake import KEY, UNOFFERED, CohereFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = CohereFake
MODEL = "command-a-03-2025"
ENVIRONMENT: Mapping[str, str] = {"CO_API_KEY": KEY}


def spec(url: str, **changes: object) -> ProviderSpec:
    """The document of a provider that is the fake at `url`."""
    fields: dict[str, object] = {
        "codec": "cohere",
        "base_url": url,
        "credentials": "env:CO_API_KEY",
        "idle_timeout_ms": 300,
        "http2": False,
    }
    return ProviderSpec(**{**fields, **changes})  # type: ignore[arg-type]
