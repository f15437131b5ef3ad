"""Servers that speak OpenAI's chat.completions with quirks, and what a test needs to call them."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from fakes.compatible.fake import KEY, UNOFFERED, CompatibleFake
from fakes.compatible.flavours import FLAVOURS
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.resources.quirks import Quirks

__all__ = [
    "ENVIRONMENT",
    "FAKE",
    "FLAVOURS",
    "KEY",
    "MODEL",
    "UNOFFERED",
    "quirks_of",
    "spec",
]

FAKE = CompatibleFake
MODEL = "m"
ENVIRONMENT: Mapping[str, str] = {"COMPATIBLE_KEY": KEY}
EXAMPLES = Path(__file__).parents[3] / "examples"


def quirks_of(flavour: str) -> Quirks:
    """Those that the example of this server's provider says."""
    (file,) = EXAMPLES.glob(f"*/{flavour}/*r.yaml")
    documents = yaml.safe_load_all(file.read_text())
    (provider,) = [each for each in documents if each["kind"] == "Provider"]
    return msgspec.convert(provider["spec"].get("quirks", {}), Quirks)


def spec(url: str, *, flavour: str = "vllm", **changes: object) -> ProviderSpec:
    """The document of a provider that is the fake at `url`, with the quirks that we ship for it."""
    fields: dict[str, object] = {
        "codec": "openai",
        "base_url": f"{url}/v1",
        "credentials": "env:COMPATIBLE_KEY",
        "idle_timeout_ms": 300,
        "http2": False,
        "quirks": quirks_of(flavour),
    }
    return ProviderSpec(**{**fields, **changes})  # type: ignore[arg-type]
