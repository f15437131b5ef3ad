"""Azure OpenAI's v1 address, and our `openai` codec as it calls it with a key."""

from typing import Any

import fakes.azure
from fakes.azure import ENVIRONMENT, FAKE, UNOFFERED
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

MODEL = "gpt-x"


def spec(url: str, **changes: Any) -> ProviderSpec:
    """How to call the fake at `url`."""
    said = {"codec": "openai", "base_url": f"{url}/openai/v1", "auth": "api-key"}
    return fakes.azure.spec(url, **{**said, **changes})
