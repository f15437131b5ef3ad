"""Google's Vertex AI on loopback."""

from collections.abc import Mapping

import msgspec

from fakes.gemini.fake import MODEL
from fakes.vertex.fake import LOCATION, PROJECT, TOKEN, VertexFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = VertexFake
ENVIRONMENT: Mapping[str, str] = {"VERTEX_TOKEN": TOKEN}
# What the vendor has no form for, with where it says so.
UNOFFERED: Mapping[str, str] = {
    "throttled": "a delay: cloud.google.com, Vertex AI, `Error code 429`, tells to wait and to double",
}


def spec(url: str, **changes: object) -> ProviderSpec:
    """The provider that is served at `url`."""
    provider = ProviderSpec(
        codec="gemini",
        base_url=f"{url}/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google",
        credentials="env:VERTEX_TOKEN",
        idle_timeout_ms=300,
    )
    return msgspec.structs.replace(provider, **changes)
