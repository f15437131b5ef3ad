"""Who stands behind a `Provider`: its name in the GenAI conventions, and the address it is called at."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from harmost.core.resources.kinds import ProviderSpec

__all__ = ["Vendor", "Vendors", "vendor_of"]

VENDORS_MAX = 4_096

# By the end of a host's name; "gen_ai.provider.name" of the conventions.
_BY_HOST: Mapping[str, str] = {
    "openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "anthropic.com": "anthropic",
    "cohere.com": "cohere",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
}
_PORTS = {"http": 80, "https": 443}


class Vendor(NamedTuple):
    """`name` by the conventions; `address` "" and `port` 0 where they are not known."""

    name: str
    address: str
    port: int


@lru_cache(maxsize=VENDORS_MAX)
def vendor_of(provider: str, base_url: str) -> Vendor:
    """Who is called at `base_url`; one that no convention names is called as its document is."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    name = next(
        (vendor for end, vendor in _BY_HOST.items() if host == end or host.endswith(f".{end}")),
        provider,
    )
    return Vendor(name, host, (url.port or _PORTS.get(url.scheme, 0)) if host else 0)


class Vendors:
    """Vendors by the providers that run now. One that is gone by now is called as its document was."""

    def __init__(self, providers: Mapping[str, ProviderSpec] | None = None) -> None:
        self._providers = providers or {}

    def replace(self, providers: Mapping[str, ProviderSpec]) -> None:
        """Have `providers` run from now on."""
        self._providers = providers

    def of(self, provider: str, region: str) -> Vendor:
        """Who `provider` is, called in `region`."""
        spec = self._providers.get(provider)
        if spec is None:
            return Vendor(provider, "", 0)
        return vendor_of(provider, spec.regions.get(region, spec.base_url))
