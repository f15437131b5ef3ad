"""Calls in flight: what one Router remembers."""

import pytest

from harmost.core.errors import RateLimited
from harmost.core.resources.kinds import Metadata, TenantSpec
from harmost.core.resources.resolve import Resource
from harmost.services.router.admission import InFlight

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
