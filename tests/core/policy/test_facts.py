"""facts.yaml is the one declaration: the makers of facts give exactly what it declares."""

from typing import Any

import pytest

from harmost.core.budget.price import compile_price
from harmost.core.chat import Call, Claims, Message
from harmost.core.errors import InvalidInput
from harmost.core.policy.facts import (
    FactScope,
    FactType,
    candidate_facts,
    checked_facts,
    declared_facts,
    default_of,
    request_facts,
)
from harmost.core.resources.kinds import ModelSpec, Price, ProviderSpec, TenantSpec

PYTHON_TYPES: dict[FactType, type] = {
    FactType.STRING: str,
    FactType.INT: int,
    FactType.BOOL: bool,
    FactType.DOUBLE: float,
    FactType.STRINGS: list,
    FactType.STRING_MAP: dict,
    FactType.INT_MAP: dict,
}


def made_request_facts(**claims: Any) -> dict[str, Any]:
    call = Call(
        profile="p",
        tenant="acme/retail",
        principal="app",
        messages=(Message.of("user", "hi"),),
        claims=Claims(**claims),
        labels={"env": "prod"},
    )
    return request_facts(
        call,
        tenant=TenantSpec(allowed_purposes=("support",)),
        data_classes=["email"],
        input_tokens=3,
        input_bytes=2,
        modalities=["text"],
        output_tokens_max=100,
        tls=True,
    )


def made_candidate_facts(*, priced: bool = True, region: str = "") -> dict[str, Any]:
    model = ModelSpec(provider="acme-ai", vendor_model_id="m-1", region=region)
    price = compile_price(Price(input="3", output="15")) if priced else None
    return candidate_facts(
        "m",
        model,
        "acme-ai",
        ProviderSpec(codec="openai", base_url="https://x", region="EEA"),
        price,
    )


def declared(scope: FactScope) -> set[str]:
    return {name for name, fact in declared_facts().items() if fact.scope is scope}


def test_every_fact_is_named_in_dotted_lower_case_and_explained() -> None:
    for name, fact in declared_facts().items():
        assert name == name.lower()
        assert " " not in name
        assert len(fact.meaning) > 10


def test_request_facts_are_those_declared() -> None:
    assert made_request_facts().keys() == declared(FactScope.REQUEST)


def test_candidate_facts_are_those_declared() -> None:
    assert made_candidate_facts().keys() == declared(FactScope.CANDIDATE)


def test_made_facts_have_their_declared_type() -> None:
    for name, value in {**made_request_facts(), **made_candidate_facts()}.items():
        assert type(value) is PYTHON_TYPES[declared_facts()[name].type], name


def test_defaults_have_their_declared_type_and_are_fresh() -> None:
    for name, fact in declared_facts().items():
        assert type(default_of(name)) is PYTHON_TYPES[fact.type]
    assert default_of("data.classes") is not default_of("data.classes")


def test_claims_become_facts() -> None:
    facts = made_request_facts(
        purpose="support", subject_region="EEA", opt_outs=("sale",), significant_decision=True
    )
    assert facts["purpose"] == "support"
    assert facts["subject.region"] == "EEA"
    assert facts["subject.opt_outs"] == ["sale"]
    assert facts["decision.significant"] is True


def test_found_and_claimed_classes_imply_coarser_ones() -> None:
    facts = made_request_facts(data_classes=("health", "own-class"))
    assert facts["data.classes"] == ["email", "health", "own-class", "personal", "special"]


def test_a_model_without_region_has_its_provider_s() -> None:
    assert made_candidate_facts()["model.region"] == "EEA"
    assert made_candidate_facts(region="US")["model.region"] == "US"


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    assert made_candidate_facts()["model.input_usd_picos_per_token"] == 3_000_000
    unknown = made_candidate_facts(priced=False)
    assert unknown["model.price_known"] is False
    assert unknown["model.output_usd_picos_per_token"] == 0


def test_given_facts_are_completed_with_defaults() -> None:
    facts = checked_facts({"input.tokens": 3.0}, scope=FactScope.REQUEST)
    assert facts.keys() == declared(FactScope.REQUEST)
    assert facts["input.tokens"] == 3
    assert type(facts["input.tokens"]) is int
    assert facts["subject.region"] == ""


def test_given_classes_imply_coarser_ones() -> None:
    facts = checked_facts({"data.classes": ["pan"]}, scope=FactScope.REQUEST)
    assert facts["data.classes"] == ["cardholder", "pan", "personal"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input.tokens", "3"),
        ("input.tokens", 3.5),
        ("input.tokens", True),
        ("input.tokens", 2**63),
        ("input.tokens", float("nan")),
        ("input.tokens", float("inf")),
        ("subject.region", 3),
        ("subject.region", None),
        ("labels", {"a": 1}),
        ("labels", ["a"]),
        ("data.classes", "pan"),
        ("data.classes", [1]),
        ("channel.tls", 1),
        ("model.region", "EEA"),
        ("no.such", 1),
    ],
)
def test_a_given_fact_of_another_type_or_name_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_facts({name: value, "purpose": "x"}, scope=FactScope.REQUEST)
    assert [violation.field for violation in refused.value.violations] == [name]


def test_all_wrong_facts_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_facts({"a": 1, "b": 2, "labels": 3}, scope=FactScope.REQUEST)
    assert len(refused.value.violations) == 3
