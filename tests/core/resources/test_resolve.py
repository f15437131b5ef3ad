"""Documents fit together, or what does not is told where it stands."""

from collections.abc import Callable

import pytest

from harmost.core.resources.parse import ParsedDocument
from harmost.core.resources.resolve import resolve

Problems = Callable[[str], list[str]]
Make = Callable[..., str]
KEY = "{id: 0123456789ab, hash: 'sha256:" + "0" * 64 + "'}"
LIMIT = "spec: {limits: [{window: day, usd: '1'}]}"


def test_catalog_holds_every_document_by_name(base: tuple[ParsedDocument, ...]) -> None:
    catalog = resolve(base)
    assert set(catalog.tenants) == {"acme", "globex"}
    assert catalog.providers["vendor"].spec.codec == "openai"
    assert catalog.models["small"].spec.provider == "vendor"
    assert catalog.profiles == catalog.policies == catalog.budgets == catalog.keys == {}


def test_catalog_cannot_be_changed(base: tuple[ParsedDocument, ...]) -> None:
    catalog = resolve(base)
    with pytest.raises(TypeError):
        catalog.models["small"] = catalog.models["small"]  # type: ignore[index]


def test_keys_are_found_by_id_over_all_tenants(
    document: Make, parse: Callable[[str], tuple[ParsedDocument, ...]]
) -> None:
    text = document("Tenant", f"spec: {{principals: [{{name: app, keys: [{KEY}]}}]}}", name="acme")
    owner = resolve(parse(text)).keys["0123456789ab"]
    assert (owner.principal.name, owner.tenant, owner.key.id) == ("app", "acme", "0123456789ab")


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Model", "spec: {provider: vendro, vendor_model_id: v}", "t.yaml:4:18 provider `vendro` does not exist: did you mean `vendor`?"),
        ("Model", "spec: {provider: other, vendor_model_id: v}", "t.yaml:4:18 provider `other` does not exist: add a `Provider` document"),
        ("MissionProfile", "spec: {models: [small, smal]}", "t.yaml:4:24 model `smal` does not exist: did you mean `small`?"),
        ("MissionProfile", "spec: {steps: [{name: s, models: [none]}]}", "t.yaml:4:35 model `none` does not exist"),
        ("Budget", "spec: {profile: p, limits: [{window: day, usd: '1'}]}", "t.yaml:4:17 mission profile `p` does not exist"),
    ],
)  # fmt: skip
def test_names_that_lead_nowhere_are_told(
    problems: Problems, document: Make, kind: str, spec: str, expected: str
) -> None:
    assert any(expected in found for found in problems(document(kind, spec)))


REGIONAL = "spec: {codec: openai, base_url: 'https://us', region: US, regions: {EEA: 'https://eu'}}"


@pytest.mark.parametrize("region", ["", "US", "EEA"])
def test_a_model_is_where_its_provider_has_an_address(
    problems: Problems, document: Make, region: str
) -> None:
    model = f"spec: {{provider: far, vendor_model_id: v, region: '{region}'}}"
    documents = document("Provider", REGIONAL, name="far") + "---\n" + document("Model", model)
    assert problems(documents) == []


def test_a_model_where_its_provider_has_no_address_is_told(
    problems: Problems, document: Make
) -> None:
    provider = document("Provider", REGIONAL, name="far")
    model = document("Model", "spec: {provider: far, vendor_model_id: v, region: UK}")
    (found,) = problems(f"{provider}---\n{model}")
    assert found == (
        "t.yaml:9:51 provider `far` has no address in `UK`: "
        "add its address to `regions` of that one"
    )
    assert (
        problems(document("Model", "spec: {provider: vendor, vendor_model_id: v, region: UK}"))
        == []
    )


def test_tenant_that_does_not_exist_is_told(problems: Problems, document: Make) -> None:
    assert problems(document("Budget", LIMIT, tenant="acme/retial")) == [
        "t.yaml:3:29 tenant `acme/retial` does not exist: add a `Tenant` document of that name"
    ]


def test_tenant_without_its_parent_is_told(problems: Problems, document: Make) -> None:
    (found,) = problems(document("Tenant", "", name="acme/retail/support"))
    assert found.startswith("t.yaml:3:18 tenant `acme/retail` does not exist")


def test_tenant_document_belongs_to_itself(problems: Problems) -> None:
    text = "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme/a, tenant: acme}\n"
    (found,) = problems(text)
    assert found.startswith("t.yaml:3:34 a tenant belongs to itself")


def test_model_of_another_tenant_cannot_be_used(problems: Problems, document: Make) -> None:
    model = document(
        "Model", "spec: {provider: vendor, vendor_model_id: v}", name="theirs", tenant="globex"
    )
    profile = document("MissionProfile", "spec: {models: [theirs]}")
    (found,) = problems(f"{model}---\n{profile}")
    assert "model `theirs` belongs to a tenant that is not above `acme`" in found
    assert "globex" not in found


def test_model_of_a_tenant_above_can_be_used(problems: Problems, document: Make) -> None:
    below = document("Tenant", "", name="acme/a")
    model = document("Model", "spec: {provider: vendor, vendor_model_id: v}", name="ours")
    profile = document("MissionProfile", "spec: {models: [ours]}", tenant="acme/a")
    assert problems(f"{below}---\n{model}---\n{profile}") == []


def test_key_id_of_two_principals_is_told_without_the_other(
    problems: Problems, document: Make
) -> None:
    spec = f"spec: {{principals: [{{name: app, keys: [{KEY}, {KEY}]}}]}}"
    (found,) = problems(document("Tenant", spec, name="acme/a"))
    assert "key id `0123456789ab` is taken" in found


def test_many_wrong_names_get_an_answer_in_time(problems: Problems, document: Make) -> None:
    models = ", ".join(f"model-{n}" for n in range(2_000))
    assert len(problems(document("MissionProfile", f"spec: {{models: [{models}]}}"))) == 100


PRICED = "spec: {provider: vendor, vendor_model_id: v, price: {input: '0', output: '0'}}"


def test_price_is_stated_only_where_the_provider_is_paid(
    problems: Problems, document: Make
) -> None:
    (found,) = problems(document("Model", PRICED, name="free"))
    assert found.startswith("t.yaml:4:53 provider `vendor` belongs to the deployment, so only")


def test_that_a_price_is_unknown_is_stated_only_there_too(
    problems: Problems, document: Make
) -> None:
    unknown = "spec: {provider: vendor, vendor_model_id: v, price: unknown}"
    (found,) = problems(document("Model", unknown, name="m"))
    assert "only a model of the deployment may state its price" in found
    assert problems(document("Model", unknown.replace("unknown", "auto"), name="m")) == []


def test_price_of_a_tenants_own_provider_is_its_own(problems: Problems, document: Make) -> None:
    provider = document(
        "Provider", "spec: {codec: openai, base_url: 'https://own.example.com'}", name="own"
    )
    model = document("Model", PRICED.replace("vendor,", "own,"), name="free")
    assert problems(f"{provider}---\n{model}") == []
