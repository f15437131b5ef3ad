"""Each model is called at the address of its provider that it says it is at."""

import pytest

from harmost.core.errors import NotFound
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoints

REGIONAL = ProviderSpec(
    codec="openai",
    base_url="https://us",
    region="US",
    regions={"EEA": "https://eu", "UK": "https://uk"},
)


@pytest.mark.parametrize(
    ("region", "base_url", "reached"),
    [
        ("", "https://us", "US"),
        ("US", "https://us", "US"),
        ("EEA", "https://eu", "EEA"),
        ("UK", "https://uk", "UK"),
    ],
)
async def test_a_region_has_its_own_address(region: str, base_url: str, reached: str) -> None:
    endpoints = Endpoints()
    await endpoints.replace({"far": REGIONAL})
    found = endpoints.get("far", region)
    assert (found.spec.base_url, found.spec.region) == (base_url, reached)
    assert found.name == "far"  # in records and books it is one provider
    assert found.title == f"provider `far` in `{reached}`"


async def test_a_region_without_an_address_is_never_called_elsewhere() -> None:
    endpoints = Endpoints()
    await endpoints.replace({"far": REGIONAL})
    with pytest.raises(NotFound, match="provider `far` has no address in `JP`: add it"):
        endpoints.get("far", "JP")


async def test_a_provider_with_one_address_has_it_for_every_model() -> None:
    endpoints = Endpoints()
    await endpoints.replace(
        {"near": ProviderSpec(codec="openai", base_url="http://x", region="US")}
    )
    assert endpoints.get("near", "EEA") is endpoints.get("near") is endpoints.get("near", "US")
    assert endpoints.get("near").title == "provider `near`"


async def test_all_addresses_of_a_provider_share_its_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAR_KEY", "one")
    endpoints = Endpoints()
    shared = ProviderSpec(
        codec="openai", base_url="http://x", regions={"EEA": "http://y"}, credentials="env:FAR_KEY"
    )
    await endpoints.replace({"far": shared})
    far, near = (endpoints.get("far", region).credential for region in ("EEA", ""))
    assert far.grant is near.grant
    assert far.grant.secrets == ("one",)
