"""Calls in flight and idempotency keys: what one Router remembers."""

import pytest

from harmost.core.errors import AlreadyExists, Conflict, InvalidInput, RateLimited
from harmost.core.resources.kinds import Metadata, TenantSpec
from harmost.core.resources.resolve import Resource
from harmost.services.router.admission import IdempotencyKeys, InFlight

TENANTS = {
    name: Resource(Metadata(name=name), TenantSpec(in_flight_max=limit))
    for name, limit in (("acme", 3), ("acme/a", 2))
}


def test_every_level_of_a_tenant_path_has_its_limit() -> None:
    running = InFlight()
    running.enter("acme/a", TENANTS)
    running.enter("acme/a", TENANTS)
    with pytest.raises(RateLimited, match="`acme/a` has 2"):
        running.enter("acme/a", TENANTS)
    running.enter("acme/b", TENANTS)
    with pytest.raises(RateLimited, match="`acme` has 3"):
        running.enter("acme", TENANTS)
    running.leave("acme/a")
    running.enter("acme", TENANTS)


def test_a_refused_call_is_not_counted() -> None:
    running = InFlight(calls_max=1)
    running.enter("acme", TENANTS)
    with pytest.raises(RateLimited):
        running.enter("acme", TENANTS)
    running.leave("acme")
    assert running.calls == 0


def test_a_key_is_held_while_its_call_runs_and_remembered_after() -> None:
    keys = IdempotencyKeys()
    with (
        keys.claimed("acme:app", "k", b"body", "r1"),
        pytest.raises(Conflict),
        keys.claimed("acme:app", "k", b"body", "r2"),
    ):
        pass
    with pytest.raises(AlreadyExists, match="r1"), keys.claimed("acme:app", "k", b"body", "r2"):
        pass


def test_a_key_is_for_one_request_only() -> None:
    keys = IdempotencyKeys()
    with keys.claimed("acme:app", "k", b"body", "r1"):
        pass
    with pytest.raises(InvalidInput), keys.claimed("acme:app", "k", b"other", "r2"):
        pass


def test_principals_of_one_name_in_two_tenants_share_no_keys() -> None:
    keys = IdempotencyKeys()
    with keys.claimed("acme:app", "k", b"body", "r1"):
        pass
    with keys.claimed("globex:app", "k", b"body", "r2"):
        pass


def test_no_key_claims_nothing() -> None:
    keys = IdempotencyKeys()
    with keys.claimed("acme:app", "", b"", "r1"), keys.claimed("acme:app", "", b"", "r2"):
        pass


def test_the_oldest_keys_are_forgotten_first() -> None:
    keys = IdempotencyKeys(keys_max=1)
    for name in ("old", "new"):
        with keys.claimed("acme:app", name, b"body", name):
            pass
    with keys.claimed("acme:app", "old", b"body", "again"):
        pass
