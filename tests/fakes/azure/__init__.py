"""Azure OpenAI's classic deployments, and our `azure` codec as it calls them."""

from typing import Any

import msgspec

from fakes.azure.fake import UNOFFERED, AzureFake
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ENVIRONMENT", "FAKE", "MODEL", "UNOFFERED", "spec"]

FAKE = AzureFake
MODEL = "gpt/x y"  # a deployment whose name must be escaped
ENVIRONMENT = {"AZURE_FAKE_KEY": "azure-fake"}


def spec(url: str, **changes: Any) -> ProviderSpec:
    """How to call the fake at `url`."""
    said = ProviderSpec(codec="azure", base_url=url, credentials="env:AZURE_FAKE_KEY", http2=False)
    return msgspec.structs.replace(said, **changes)
