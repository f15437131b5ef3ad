"""The bounds that the protos state are enforced, and every violation names its field."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from effort import effort
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from harmost.budget.v1 import budget_pb2
from harmost.core.errors import InvalidInput
from harmost.policy.v1 import policy_pb2
from harmost.router.v1 import router_pb2
from harmost.services.interceptors import bounds
from harmost.services.interceptors.bounds import check
from harmost.telemetry.v1 import telemetry_pb2


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


CASES = effort(150, ci=3_000, nightly=100_000)
SERVICES = (router_pb2, budget_pb2, policy_pb2, telemetry_pb2)
DEPTH_MAX = 4
ODD = 0.1  # how often a value is at or beyond its bounds


def requests() -> Iterator[type[Message]]:
    """Every message type that a caller sends."""
    for module in SERVICES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield getattr(module, method.input_type.name)


def scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    """A value at, just below or just above a bound of `field`; mostly one within all of them."""
    stated = field.GetOptions().Extensions[bounds.options_pb2.bounds]
    if field.enum_type is not None:
        known = list(field.enum_type.values_by_number)
        return 99 if chance.random() < ODD else chance.choice(known)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        size = min(stated.bytes_max, 5_000) + chance.randrange(-2, 3)
        size = size if chance.random() < ODD else 1
        text = chance.choice(["", "x", "x" * size, "é" * (size // 2 + chance.randrange(2))])
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.uniform(-1, 1)
    near = [n + d for n in (0, stated.min, stated.max) for d in (-1, 0, 1)]
    fits = [n for n in near if 0 <= n < 2**31 or (n < 0 and field.type == field.TYPE_INT64)]
    return chance.choice(fits) if chance.random() < ODD else max(stated.min, 1)


def fill(message: Any, chance: random.Random, depth: int = 0) -> None:
    """Set some fields of `message`, below it too."""
    for field in message.DESCRIPTOR.fields:
        stated = field.GetOptions().Extensions[bounds.options_pb2.bounds]
        left_out = ODD / 4 if stated.required else 0.6
        if chance.random() < left_out or depth > DEPTH_MAX:
            continue
        few = chance.randrange(4) if chance.random() < ODD else 1
        count = stated.items_max + few - 2 if 0 < stated.items_max <= 64 and few > 1 else few
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            fill_map(getattr(message, field.name), field.message_type, count, chance, depth)
        elif field.is_repeated and field.message_type is not None:
            for _ in range(count):
                fill(getattr(message, field.name).add(), chance, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(field, chance) for _ in range(count))
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(inner, chance, depth + 1)
        else:
            setattr(message, field.name, scalar(field, chance))


def fill_map(
    entries: Any, entry: Descriptor, count: int, chance: random.Random, depth: int
) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for number in range(count):
        name = f"{number}{scalar(key, chance)}" if key.type == key.TYPE_STRING else number
        if value.message_type is not None:
            fill(entries[name], chance, depth + 1)
        else:
            entries[name] = scalar(value, chance)


@pytest.mark.parametrize("kind", list(requests()), ids=lambda kind: kind.DESCRIPTOR.full_name)
def test_both_walks_agree_on_what_is_sound(kind: type[Message]) -> None:
    chance = random.Random(kind.DESCRIPTOR.full_name)
    for _ in range(CASES // 10):
        message = kind()
        fill(message, chance)
        found: list[str] = []
        bounds._check_message(message, "", lambda field, _, found=found: found.append(field))
        assert bounds._sound(message.DESCRIPTOR)(message) == (not found), found


def test_the_walks_meet_sound_and_unsound_messages_alike() -> None:
    chance, sound = random.Random(1), []
    for _ in range(CASES):
        message = budget_pb2.ReserveRequest()
        fill(message, chance)
        sound.append(bounds._sound(message.DESCRIPTOR)(message))
    assert 0 < sum(sound) < len(sound)
