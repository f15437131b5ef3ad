"""Who stands behind a provider's address."""

import pytest

from harmost.core.resources.kinds import ProviderSpec
from harmost.services.telemetry.otel.vendors import Vendor, Vendors, vendor_of


@pytest.mark.parametrize(
    ("url", "vendor"),
    [
        ("https://api.openai.com/v1", Vendor("openai", "api.openai.com", 443)),
        ("https://acme.openai.azure.com", Vendor("azure.ai.openai", "acme.openai.azure.com", 443)),
        ("https://api.anthropic.com", Vendor("anthropic", "api.anthropic.com", 443)),
        ("https://notopenai.com", Vendor("doc", "notopenai.com", 443)),
        ("http://127.0.0.1:8000/v1", Vendor("doc", "127.0.0.1", 8000)),
        ("http://[::1]/v1", Vendor("doc", "::1", 80)),
        ("", Vendor("doc", "", 0)),
    ],
)
def test_a_vendor_is_known_by_its_host(url: str, vendor: Vendor) -> None:
    assert vendor_of("doc", url) == vendor


def test_a_region_has_an_address_of_its_own() -> None:
    spec = ProviderSpec(
        codec="openai",
        base_url="https://api.openai.com/v1",
        regions={"EEA": "https://eu.api.openai.com/v1"},
    )
    vendors = Vendors({"oai": spec})
    assert vendors.of("oai", "EEA").address == "eu.api.openai.com"
    assert vendors.of("oai", "US").address == "api.openai.com"
