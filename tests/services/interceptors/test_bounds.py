"""The bounds that the protos state are enforced, and every violation names its field."""

import pytest
from google.protobuf.message import Message

from harmost.budget.v1 import budget_pb2
from harmost.core.errors import InvalidInput
from harmost.router.v1 import router_pb2
from harmost.services.interceptors.bounds import check


def request(**fields: object) -> router_pb2.ChatRequest:
    base = router_pb2.ChatRequest(
        profile="hello",
        messages=[
            router_pb2.Message(
                role=router_pb2.MESSAGE_ROLE_USER, parts=[router_pb2.Part(text="hi")]
            )
        ],
    )
    base.MergeFrom(router_pb2.ChatRequest(**fields))  # type: ignore[arg-type]
    return base


def violations(message: Message) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        check(message)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_a_good_request_passes() -> None:
    check(request(labels={"a": "b"}, generation=router_pb2.Generation(output_tokens_max=10)))


def test_required_fields_are_missed_by_name() -> None:
    found = violations(router_pb2.ChatRequest())
    assert set(found) == {"profile", "messages"}
    assert "required" in found["profile"]


def test_a_string_is_measured_in_bytes() -> None:
    assert "bytes" in violations(request(agent_id="é" * 65))["agent_id"]
    check(request(agent_id="é" * 64))


def test_nested_and_repeated_fields_are_named_by_path() -> None:
    bad = request()
    bad.messages.add(role=router_pb2.MESSAGE_ROLE_USER)
    bad.messages.add(role=99, parts=[router_pb2.Part(text="x")])  # type: ignore[arg-type]
    found = violations(bad)
    assert "messages[1].parts" in found
    assert "does not name" in found["messages[2].role"]


def test_maps_bound_their_size_keys_and_values() -> None:
    assert "entries" in violations(request(labels={str(n): "" for n in range(33)}))["labels"]
    assert "labels[k]" in violations(request(labels={"k": "x" * 257}))
    assert "labels[key]" in violations(request(labels={"x" * 257: ""}))


def test_integers_have_a_least_and_a_most() -> None:
    amount = budget_pb2.ReserveRequest(
        attempt_id="a",
        path=budget_pb2.BudgetPath(tenant="acme"),
        amount=budget_pb2.Amount(usd_nanos=-1, tokens=10**13),
    )
    assert set(violations(amount)) == {"amount.usd_nanos", "amount.tokens"}


def test_a_hostile_request_gets_a_short_answer() -> None:
    bad = request()
    for _ in range(1000):
        bad.messages.add()
    assert len(violations(bad)) <= 20
