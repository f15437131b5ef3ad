"""OpenAI's chat.completions, and our `openai` codec as it calls it."""

from typing import Any

import msgspec

from fakes.openai.fake import UNOFFERED, OpenAiFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = OpenAiFake
MODEL = "gpt-x"
ENVIRONMENT = {"OPENAI_FAKE_KEY": "sk-fake"}


def spec(url: str, **changes: Any) -> ProviderSpec:
    """How to call the fake at `url`."""
    said = ProviderSpec(
        codec="openai", base_url=f"{url}/v1", credentials="env:OPENAI_FAKE_KEY", http2=False
    )
    return msgspec.structs.replace(said, **changes)
