"""Making a key: what changes in the Tenant's document, and what happens when another comes first."""

from typing import Any, cast

import grpc
import pytest

from harmost.client.errors import Conflict
from harmost.core.errors import InvalidInput
from harmost.core.resources.kinds import Principal, TenantSpec
from harmost.core.resources.parse import Source, parse_sources
from harmost.policy.v1 import policy_pb2
from harmost.services.operate.keys import create_key
from harmost.services.operate.session import Session

TENANT = b"""apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme}
spec:
  in_flight_max: 7
  principals:
  - {name: first, roles: [caller], claims: [purpose]}
  - {name: second, roles: [author]}
"""


class Policy:
    """A Policy service with one document; the first `conflicts` changes come too late."""

    def __init__(self, *, conflicts: int = 0) -> None:
        self.yaml = TENANT
        self.conflicts = conflicts
        self.applied = 0

    def call(self, method: str, request: Any) -> Any:
        if method == "GetResource":
            resource = policy_pb2.Resource(yaml=self.yaml)
            return policy_pb2.GetResourceResponse(resource=resource, snapshot_etag="e")
        assert request.etag == "e"
        self.applied += 1
        if self.applied <= self.conflicts:
            raise Conflict("another came first", code=grpc.StatusCode.ABORTED)
        self.yaml = request.sources[0].yaml
        return policy_pb2.ApplyResponse()

    def principals(self) -> tuple[Principal, ...]:
        spec = parse_sources([Source("t", self.yaml)])[0].document.spec
        assert isinstance(spec, TenantSpec)
        assert spec.in_flight_max == 7
        return spec.principals


def create(policy: Policy, principal: str, *roles: str, expires: str = "") -> str:
    session = cast("Session", policy)
    return create_key(session, tenant="acme", principal=principal, roles=roles, expires=expires)


def test_a_known_principal_gets_one_more_key_and_keeps_the_rest() -> None:
    policy = Policy()
    first = create(policy, "first")
    second = create(policy, "first", expires="2099-01-01T00:00:00Z")
    changed, other = policy.principals()
    assert [key.id for key in changed.keys] == [first.split("_")[1], second.split("_")[1]]
    assert [key.expires for key in changed.keys] == ["", "2099-01-01T00:00:00Z"]
    assert (changed.roles, changed.claims) == (("caller",), ("purpose",))
    assert other == Principal(name="second", roles=("author",))


def test_the_key_itself_is_not_in_the_document() -> None:
    policy = Policy()
    secret = create(policy, "first").split("_", 2)[2]
    assert secret.encode() not in policy.yaml
    assert b"sha256:" in policy.yaml


def test_a_new_principal_needs_a_role() -> None:
    policy = Policy()
    with pytest.raises(InvalidInput, match="say what it may do with `--role`"):
        create(policy, "third")
    create(policy, "third", "caller", "finance", "caller")
    assert policy.principals()[-1].roles == ("caller", "finance")


def test_roles_that_no_document_can_grant_are_refused() -> None:
    with pytest.raises(InvalidInput, match="role `service` is not known"):
        create(Policy(), "first", "service")


def test_who_comes_too_late_looks_again() -> None:
    policy = Policy(conflicts=2)
    create(policy, "first")
    assert policy.applied == 3
    with pytest.raises(Conflict):
        create(Policy(conflicts=99), "first")
