"""Revoke, Restore and ListRevocations over the wire: durable, pushed, bounded, each tenant its own."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from signing import SIGNER

from harmost.core.policy.revocations import REVOCATIONS_MAX, Revocation, Revocations
from harmost.core.resources.signing import Verifier
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import (
    revocations_from_proto,
    signature_of,
    statement_of_revocations,
)
from harmost.services.policy.store import PolicyStore

TENANT = policy_pb2.REVOCATION_KIND_TENANT
AGENT = policy_pb2.REVOCATION_KIND_AGENT


def revoke(name: str, kind: Any = TENANT, **fields: Any) -> policy_pb2.RevokeRequest:
    return policy_pb2.RevokeRequest(kind=kind, name=name, **fields)


async def listed(caller: Any, **fields: Any) -> policy_pb2.ListRevocationsResponse:
    return await caller("ListRevocations", policy_pb2.ListRevocationsRequest(**fields))


async def watch(mesh: Any) -> Any:
    caller = mesh.caller("service")
    call = caller.stub.WatchSnapshot(metadata=caller.metadata, timeout=30)
    await call.write(policy_pb2.WatchSnapshotRequest(watcher_id="r1"))
    assert (await call.read()).HasField("revocations")
    assert (await call.read()).HasField("snapshot")
    return call


async def test_watchers_get_revocations_signed_and_alone(mesh: Any) -> None:
    call = await watch(mesh)
    made = await mesh.caller("acme")("Revoke", revoke("acme/retail", reason="it leaks"))
    message = await call.read()
    assert not message.HasField("snapshot")
    found = revocations_from_proto(message.revocations)
    verifier = Verifier([SIGNER.public_pem])
    verifier.check("it", statement_of_revocations(found), signature_of(message.revocations))
    assert found.sequence == made.sequence == 1
    assert [(each.name, each.reason, each.author) for each in found.all] == [
        ("acme/retail", "it leaks", "alice")
    ]
    call.cancel()


async def test_revocations_do_not_wait_for_documents_that_are_checked(mesh: Any) -> None:
    call = await watch(mesh)
    root = mesh.caller("root")
    rules = "".join(
        f"    - {{name: r{n}, when: 'input.tokens > {n}', deny: x}}\n" for n in range(3_000)
    )
    applying = asyncio.ensure_future(
        root.apply(
            "apiVersion: harmost.dev/v1\nkind: Policy\nmetadata: {name: big, tenant: acme}\n"
            f"spec:\n  rules:\n{rules}"
        )
    )
    await asyncio.sleep(0.1)
    await root("Revoke", revoke("acme"))
    message = await call.read()
    assert message.HasField("revocations")
    assert not applying.done()
    await applying
    call.cancel()


async def test_they_survive_a_restart(path: Path, serve: Any) -> None:
    async with serve(path) as mesh:
        root = mesh.caller("root")
        await root.apply("apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n")
        await root("Revoke", revoke("acme", reason="x"))
        await root("Revoke", revoke("bot", AGENT))
        await root("Restore", policy_pb2.RestoreRequest(kind=AGENT, name="bot"))
        before = await listed(root)
    async with serve(path) as mesh:
        after = await listed(mesh.caller("root"))
        assert after == before
        assert (after.sequence, len(after.revocations)) == (3, 1)


async def test_each_tenant_sees_its_own_and_pages(mesh: Any) -> None:
    root = mesh.caller("root")
    for number in range(5):
        await root("Revoke", revoke(f"bot{number}", AGENT, tenant="acme"))
    await root("Revoke", revoke("globex"))
    mine = await listed(mesh.caller("acme"), page_size=3)
    assert [each.name for each in mine.revocations] == ["bot0", "bot1", "bot2"]
    rest = await listed(mesh.caller("acme"), page_size=3, page_token=mine.next_page_token)
    assert [each.name for each in rest.revocations] == ["bot3", "bot4"]
    assert rest.next_page_token == ""
    assert len((await listed(root)).revocations) == 6
    reason, _ = await root.refused(
        "ListRevocations", policy_pb2.ListRevocationsRequest(page_token="x")
    )
    assert reason == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("request_", "key", "reason"),
    [
        (policy_pb2.RevokeRequest(name="acme"), "root", "INVALID_INPUT"),
        (policy_pb2.RevokeRequest(kind=99, name="acme"), "root", "INVALID_INPUT"),
        (policy_pb2.RevokeRequest(kind=TENANT), "root", "INVALID_INPUT"),
        (policy_pb2.RevokeRequest(kind=AGENT, name="x" * 257), "root", "INVALID_INPUT"),
        (policy_pb2.RevokeRequest(kind=AGENT, name="x", reason="x" * 257), "root", "INVALID_INPUT"),
        (policy_pb2.RevokeRequest(kind=TENANT, name="globex"), "acme", "NOT_FOUND"),
        (policy_pb2.RevokeRequest(kind=TENANT, name="acme"), "caller", "FORBIDDEN"),
        (policy_pb2.RevokeRequest(kind=TENANT, name="acme"), "service", "FORBIDDEN"),
    ],
)
async def test_what_cannot_be_revoked_is_refused(
    mesh: Any, request_: policy_pb2.RevokeRequest, key: str, reason: str
) -> None:
    assert (await mesh.caller(key).refused("Revoke", request_))[0] == reason
    assert (await listed(mesh.caller("root"))).sequence == 0


async def test_concurrent_revocations_are_all_kept(mesh: Any) -> None:
    root = mesh.caller("root")
    done = await asyncio.gather(*(root("Revoke", revoke(f"bot{n}", AGENT)) for n in range(100)))
    assert sorted(each.sequence for each in done) == list(range(1, 101))
    assert len((await listed(root, page_size=1_000)).revocations) == 100


async def test_thousands_are_pushed_whole_and_one_more_is_refused(path: Path, serve: Any) -> None:
    store = PolicyStore(path)
    many = [
        Revocation(kind="agent", name=f"{n:064}", tenant="acme", reason="r" * 256)
        for n in range(REVOCATIONS_MAX)
    ]
    store.revoke(9, put=many, removed=())
    store.close()
    async with serve(path) as mesh:
        root = mesh.caller("root")
        await root.apply("apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n")
        reason, error = await root.refused("Revoke", revoke("one-more", AGENT))
        assert reason == "NOT_POSSIBLE_NOW"
        assert "10000 revocations are in force" in str(error.details())
        caller = mesh.caller("service")
        call = caller.stub.WatchSnapshot(metadata=caller.metadata, timeout=30)
        await call.write(policy_pb2.WatchSnapshotRequest(watcher_id="r1"))
        message = await call.read()
        found = revocations_from_proto(message.revocations)
        assert found.digest == Revocations(9, many).digest
        call.cancel()


RULES = "".join(f"    - {{name: r{n}, when: 'true', deny: {'x' * 400}}}\n" for n in range(40))
BIG = f"apiVersion: harmost.dev/v1\nkind: Policy\nmetadata: {{name: big}}\nspec:\n  rules:\n{RULES}"


async def test_full_disk_refuses_and_nothing_is_in_force(mesh: Any) -> None:
    root = mesh.caller("root")
    database = mesh.servicer._store._database
    pages = database.pragma("page_count")
    database.pragma("max_page_count", pages)  # what SQLite does on a full disk
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        for number in range(2_000):
            await root("Revoke", revoke(f"{number}" * 40, AGENT, reason="r" * 200))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "the policy store failed" in str(caught.value.details())
    found = await listed(root, page_size=1_000)
    assert found.sequence == len(found.revocations)
    source = policy_pb2.Source(name="t.yaml", yaml=BIG.encode())
    reason, _ = await root.refused("Apply", policy_pb2.ApplyRequest(sources=[source]))
    assert reason == "SERVICE_UNAVAILABLE"
    assert mesh.servicer.current().generation == 1
    database.pragma("max_page_count", pages + 1_000)
    await root("Revoke", revoke("after", AGENT))
