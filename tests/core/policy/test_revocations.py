"""What a kill switch stops, and what it leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.policy.revocations import Revocation, RevocationKind, Revocations, killed
from harmost.core.tenants import visible

CALL = {"tenant": "acme/retail", "profile": "hello", "agent_id": "bot", "record_id": "r1"}
CALLER = {"key_id": "0123456789ab", "principal": "app", "tenant": "acme"}


def stopped(kind: RevocationKind, name: str, tenant: str = "") -> Revocations:
    return Revocations(1, [Revocation(kind=kind, name=name, tenant=tenant)])


@pytest.mark.parametrize(
    ("kind", "name", "tenant"),
    [
        ("tenant", "acme", "acme"),
        ("tenant", "acme/retail", "acme/retail"),
        ("profile", "hello", ""),
        ("profile", "hello", "acme"),
        ("agent", "bot", "acme/retail"),
        ("mission", "r1", ""),
    ],
)
def test_call_is_stopped(kind: RevocationKind, name: str, tenant: str) -> None:
    found = stopped(kind, name, tenant).of_call(**CALL)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("kind", "name", "tenant"),
    [
        ("tenant", "acme/retail/support", "acme/retail/support"),
        ("tenant", "acm", "acm"),
        ("tenant", "globex", "globex"),
        ("profile", "other", ""),
        ("profile", "hello", "globex"),
        ("profile", "hello", "acme/retail/support"),
        ("agent", "hello", ""),
        ("mission", "r2", ""),
        ("key", "hello", ""),
    ],
)
def test_call_goes_on(kind: RevocationKind, name: str, tenant: str) -> None:
    assert stopped(kind, name, tenant).of_call(**CALL) is None


def test_caller_is_stopped_by_key_and_by_principal_of_its_own_tenant() -> None:
    assert stopped("key", CALLER["key_id"], "acme").of_caller(**CALLER)
    assert stopped("principal", "app", "acme").of_caller(**CALLER)
    assert stopped("principal", "app", "globex").of_caller(**CALLER) is None
    assert stopped("tenant", "acme", "acme").of_caller(**CALLER) is None
    assert stopped("key", "", "").of_caller(key_id="", principal="admin", tenant="") is None


def test_empty_agent_is_no_agent() -> None:
    assert stopped("agent", "bot").of_call(**{**CALL, "agent_id": ""}) is None


NAMES = st.sampled_from(["a", "b", "a/b", "a/b/c"])
REVOCATIONS = st.lists(
    st.builds(
        Revocation,
        kind=st.sampled_from(["tenant", "profile", "agent", "mission", "key", "principal"]),
        name=NAMES,
        tenant=st.sampled_from(["", "a", "b", "a/b"]),
    ),
    max_size=8,
    unique_by=lambda each: each.key,
)


@given(REVOCATIONS, NAMES, NAMES, NAMES, NAMES)
def test_the_index_finds_what_a_walk_over_all_finds(
    revocations: list[Revocation], tenant: str, profile: str, agent: str, record: str
) -> None:
    named = {"profile": profile, "agent": agent, "mission": record}
    walk = any(
        (each.kind == "tenant" and visible(each.name, tenant))
        or (named.get(each.kind) == each.name and visible(each.tenant, tenant))
        for each in revocations
    )
    found = Revocations(1, revocations).of_call(
        tenant=tenant, profile=profile, agent_id=agent, record_id=record
    )
    assert (found is not None) == walk


@given(REVOCATIONS)
def test_the_digest_tells_sets_apart_and_not_orders(revocations: list[Revocation]) -> None:
    digest = Revocations(1, revocations).digest
    assert Revocations(2, revocations[::-1]).digest == digest
    more = [*revocations, Revocation(kind="agent", name="new")]
    assert Revocations(1, more).digest != digest


def test_the_error_says_what_and_why() -> None:
    error = killed(Revocation(kind="agent", name="bot", tenant="acme", reason="it loops"))
    assert error.message.startswith("agent `bot` is stopped by a kill switch: it loops: ")
    assert error.details == {"kind": "agent", "name": "bot", "tenant": "acme"}
