"""The real servicer behind the real gate on 127.0.0.1, with a store on disk and principals by name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from signing import SIGNER

from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.replay import ReadVectors
from harmost.services.policy.service import PolicyServicer
from harmost.services.policy.store import PolicyStore

PRINCIPALS = {
    "service": Principal("service", "", frozenset({"service"})),
    "root": Principal("root", "", frozenset({"author", "service", "operator", "caller"})),
    "acme": Principal("alice", "acme", frozenset({"author", "operator", "caller"})),
    "retail": Principal("rita", "acme/retail", frozenset({"author"})),
    "globex": Principal("gwen", "globex", frozenset({"author", "caller"})),
    "caller": Principal("app", "acme", frozenset({"caller"})),
}
BASE = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/retail}
spec: {allowed_purposes: [support]}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: globex}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: vendor}
spec: {codec: openai, base_url: "https://api.example.com/v1", region: US, credentials: "env:KEY"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: small}
spec: {provider: vendor, vendor_model_id: small-1}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: european}
spec: {provider: vendor, vendor_model_id: small-2, region: EEA}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: hello, tenant: acme}
spec: {models: [small, european]}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: regions, tenant: acme}
spec:
  rules:
    - {name: stays-in-eu, when: subject.region == "EEA", require: model.region == "EEA", cites: [GDPR Art. 44]}
    - {name: no-scoring, when: purpose == "social_scoring", deny: prohibited}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {name: theirs, tenant: globex}
spec: {limits: [{window: day, usd: "5"}]}
"""


class Caller:
    """A stub that calls as one principal."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self.stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {key}"),)

    async def __call__(self, method: str, request: Any) -> Any:
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=30)

    async def apply(self, text: str, **fields: Any) -> policy_pb2.ApplyResponse:
        source = policy_pb2.Source(name="t.yaml", yaml=text.encode())
        return await self("Apply", policy_pb2.ApplyRequest(sources=[source], **fields))

    async def get(self, kind: str, name: str) -> policy_pb2.GetResourceResponse:
        ref = policy_pb2.ResourceRef(kind=kind, name=name)
        return await self("GetResource", policy_pb2.GetResourceRequest(resource=ref))

    async def delete(self, *keys: tuple[str, str], etag: str = "") -> policy_pb2.DeleteResponse:
        refs = [policy_pb2.ResourceRef(kind=kind, name=name) for kind, name in keys]
        return await self("Delete", policy_pb2.DeleteRequest(resources=refs, etag=etag))

    async def rollback(self, generation: int) -> policy_pb2.RollbackResponse:
        return await self("Rollback", policy_pb2.RollbackRequest(generation=generation))

    async def refused(self, method: str, request: Any) -> tuple[str, grpc.aio.AioRpcError]:
        """The stable reason of the refusal, and the error."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self(method, request)
        return reason(caught.value), caught.value


def reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details:
        found = error_details_pb2.BadRequest()
        if detail.Unpack(found):
            return [f"{item.field} {item.description}" for item in found.field_violations]
    return []


class Mesh:
    """What a test talks to."""

    def __init__(self, servicer: PolicyServicer, channel: grpc.aio.Channel) -> None:
        self.servicer = servicer
        self.channel = channel

    def caller(self, key: str) -> Caller:
        return Caller(self.channel, key)


@asynccontextmanager
async def serving(path: Path, read_vectors: ReadVectors | None = None) -> AsyncIterator[Mesh]:
    store = PolicyStore(path)
    servicer = PolicyServicer(store, SIGNER, read_vectors=read_vectors)
    server = grpc.aio.server(interceptors=[Gate(PRINCIPALS.get)])
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    try:
        async with servicer.running():
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Mesh(servicer, channel)
            await server.stop(None)
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.db"


@pytest.fixture
async def mesh(path: Path) -> AsyncIterator[Mesh]:
    async with serving(path) as running:
        await running.caller("root").apply(BASE)
        yield running


@pytest.fixture
def serve() -> Any:
    """`async with serve(path) as mesh`: for tests that restart."""
    return serving


@pytest.fixture
def told() -> Any:
    """The violations of an error."""
    return violations


@pytest.fixture
def base() -> str:
    """The documents that `mesh` runs."""
    return BASE
