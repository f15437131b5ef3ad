"""OpenAI's Responses, and our `openai-responses` codec as it calls it."""

from typing import Any

import fakes.openai
from fakes.openai import ENVIRONMENT, FAKE, MODEL, UNOFFERED
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]


def spec(url: str, **changes: Any) -> ProviderSpec:
    """How to call the fake at `url`."""
    return fakes.openai.spec(url, **{"codec": "openai-responses", **changes})
