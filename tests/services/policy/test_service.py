"""Documents over the wire: applied whole or not at all, seen by whom they belong to, never lost."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from harmost.core.errors import NotPossibleNow
from harmost.core.resources.keys import new_key
from harmost.policy.v1 import policy_pb2

MODEL = """\
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: %s, tenant: acme}
spec: {provider: vendor, vendor_model_id: %s}
"""
KINDS = {
    policy_pb2.CHANGE_KIND_ADDED: "added",
    policy_pb2.CHANGE_KIND_CHANGED: "changed",
    policy_pb2.CHANGE_KIND_UNCHANGED: "unchanged",
}


def changes(response: Any) -> dict[str, str]:
    return {change.name: KINDS[change.change] for change in response.changes}


def sent(text: str, **fields: Any) -> policy_pb2.ApplyRequest:
    source = policy_pb2.Source(name="t.yaml", yaml=text.encode())
    return policy_pb2.ApplyRequest(sources=[source], **fields)


def ref(kind: str, name: str) -> policy_pb2.GetResourceRequest:
    return policy_pb2.GetResourceRequest(resource=policy_pb2.ResourceRef(kind=kind, name=name))


async def test_apply_says_what_changed(mesh: Any) -> None:
    alice = mesh.caller("acme")
    first = await alice.apply(MODEL % ("m", "v1"))
    second = await alice.apply(MODEL % ("m", "v2") + "---\n" + MODEL % ("n", "v1"))
    third = await alice.apply(MODEL % ("m", "v2"))
    assert [first.generation, second.generation, third.generation] == [2, 3, 3]
    assert changes(first) == {"m": "added"}
    assert changes(second) == {"m": "changed", "n": "added"}
    assert changes(third) == {"m": "unchanged"}
    assert len({first.etag, second.etag}) == 2
    assert second.etag == third.etag


async def test_one_wrong_document_keeps_all_out(mesh: Any, told: Any) -> None:
    alice = mesh.caller("acme")
    text = MODEL % ("good", "v1") + "---\n" + (MODEL % ("bad", "v1")).replace("vendor,", "vendro,")
    reason, error = await alice.refused("Apply", sent(text))
    assert (reason, error.code()) == ("INVALID_DOCUMENTS", grpc.StatusCode.INVALID_ARGUMENT)
    assert told(error)[0].startswith("t.yaml:9:18 provider `vendro` does not exist")
    assert (await alice.refused("GetResource", ref("Model", "good")))[0] == "NOT_FOUND"


async def test_validate_only_changes_nothing(mesh: Any) -> None:
    alice = mesh.caller("acme")
    response = await alice.apply(MODEL % ("m", "v1"), validate_only=True)
    assert response.generation == 1
    assert changes(response) == {"m": "added"}
    assert (await alice.refused("GetResource", ref("Model", "m")))[0] == "NOT_FOUND"


async def test_change_on_an_older_etag_conflicts(mesh: Any) -> None:
    alice = mesh.caller("acme")
    etag = (await alice.get("MissionProfile", "hello")).snapshot_etag
    await alice.apply(MODEL % ("m", "v1"), etag=etag)
    reason, error = await alice.refused("Apply", sent(MODEL % ("n", "v1"), etag=etag))
    assert (reason, error.code()) == ("CONFLICT", grpc.StatusCode.ABORTED)


async def test_changes_at_once_are_carried_out_one_by_one(mesh: Any) -> None:
    alice = mesh.caller("acme")
    done = await asyncio.gather(*(alice.apply(MODEL % (f"m{n}", "v")) for n in range(8)))
    assert sorted(response.generation for response in done) == list(range(2, 10))


async def test_get_gives_canonical_yaml_and_etags(mesh: Any) -> None:
    got = await mesh.caller("acme").get("MissionProfile", "hello")
    assert got.resource.yaml.decode() == (
        "apiVersion: harmost.dev/v1\nkind: MissionProfile\nmetadata:\n  name: hello\n"
        "  tenant: acme\nspec:\n  models:\n  - small\n  - european\n"
    )
    assert (got.resource.tenant, got.resource.generation) == ("acme", 1)
    assert len(got.resource.etag) == 64


async def test_unknown_kind_is_bad_input(mesh: Any) -> None:
    alice = mesh.caller("acme")
    assert (await alice.refused("GetResource", ref("Modle", "m")))[0] == "INVALID_INPUT"
    listing = policy_pb2.ListResourcesRequest(kind="Modle")
    assert (await alice.refused("ListResources", listing))[0] == "INVALID_INPUT"


async def test_author_sees_own_tenant_and_below_only(mesh: Any) -> None:
    listed = await mesh.caller("acme")("ListResources", policy_pb2.ListResourcesRequest())
    assert [(item.kind, item.name) for item in listed.resources] == [
        ("MissionProfile", "hello"),
        ("Policy", "regions"),
        ("Tenant", "acme"),
        ("Tenant", "acme/retail"),
    ]
    for kind, name in [("Budget", "theirs"), ("Tenant", "globex"), ("Provider", "vendor")]:
        reason, _ = await mesh.caller("acme").refused("GetResource", ref(kind, name))
        assert reason == "NOT_FOUND"


async def test_pages_hold_every_document_once(mesh: Any) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = await mesh.caller("root")(
            "ListResources", policy_pb2.ListResourcesRequest(page_size=2, page_token=token)
        )
        names += [f"{item.kind}/{item.name}" for item in page.resources]
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 9
    assert names == sorted(names)


async def test_page_of_one_kind(mesh: Any) -> None:
    request = policy_pb2.ListResourcesRequest(kind="Model", page_size=1)
    page = await mesh.caller("root")("ListResources", request)
    assert [item.name for item in page.resources] == ["european"]
    request = policy_pb2.ListResourcesRequest(kind="Model", page_token=page.next_page_token)
    page = await mesh.caller("root")("ListResources", request)
    assert [item.name for item in page.resources] == ["small"]
    assert page.next_page_token == ""


async def test_page_token_that_was_not_given_is_bad_input(mesh: Any) -> None:
    request = policy_pb2.ListResourcesRequest(page_token="nonsense")
    assert (await mesh.caller("root").refused("ListResources", request))[0] == "INVALID_INPUT"


@pytest.mark.parametrize(
    "text",
    [
        MODEL.replace("tenant: acme", "tenant: globex") % ("m", "v"),
        MODEL.replace(", tenant: acme", "") % ("m", "v"),
        MODEL % ("small", "taken"),
        "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: globex}\n",
        "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acmecorp}\n",
        "apiVersion: harmost.dev/v1\nkind: Provider\nmetadata: {name: mine, tenant: acme}\n"
        "spec: {codec: openai, base_url: 'https://evil.example', credentials: 'env:KEY'}\n",
    ],
)
async def test_author_cannot_touch_what_is_not_of_the_tenant(mesh: Any, text: str) -> None:
    reason, _ = await mesh.caller("acme").refused("Apply", sent(text))
    assert reason == "FORBIDDEN"


async def test_author_makes_tenants_below(mesh: Any) -> None:
    text = "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme/new}\n"
    assert changes(await mesh.caller("acme").apply(text)) == {"acme/new": "added"}


async def test_delete_of_what_is_named_elsewhere_is_refused(mesh: Any, told: Any) -> None:
    resources = [policy_pb2.ResourceRef(kind="Model", name="small")]
    reason, error = await mesh.caller("root").refused(
        "Delete", policy_pb2.DeleteRequest(resources=resources)
    )
    assert reason == "INVALID_DOCUMENTS"
    assert "other documents still need what would go" in str(error.details())
    assert told(error)[0].startswith("MissionProfile/hello:8:5 model `small` does not exist")


async def test_delete_removes_all_or_nothing(mesh: Any) -> None:
    alice = mesh.caller("acme")
    resources = [
        policy_pb2.ResourceRef(kind="MissionProfile", name="hello"),
        policy_pb2.ResourceRef(kind="Budget", name="theirs"),
    ]
    reason, _ = await alice.refused("Delete", policy_pb2.DeleteRequest(resources=resources))
    assert reason == "NOT_FOUND"
    assert (await alice.get("MissionProfile", "hello")).resource.name == "hello"
    assert (await alice.delete(("MissionProfile", "hello"))).generation == 2
    assert (await alice.refused("GetResource", ref("MissionProfile", "hello")))[0] == "NOT_FOUND"


async def test_rollback_publishes_old_content_under_a_higher_generation(mesh: Any) -> None:
    alice = mesh.caller("acme")
    await alice.apply(MODEL % ("m", "v1"))
    await alice.apply(MODEL % ("m", "v2"))
    await alice.delete(("Policy", "regions"))
    assert (await alice.rollback(2)).generation == 5
    assert b"v1" in (await alice.get("Model", "m")).resource.yaml
    assert (await alice.get("Policy", "regions")).resource.name == "regions"
    assert (await alice.rollback(1)).generation == 6
    assert (await alice.refused("GetResource", ref("Model", "m")))[0] == "NOT_FOUND"


async def test_rollback_cannot_reach_into_other_tenants(mesh: Any) -> None:
    await mesh.caller("acme").apply(MODEL % ("m", "v1"))
    request = policy_pb2.RollbackRequest(generation=1)
    assert (await mesh.caller("globex").refused("Rollback", request))[0] == "FORBIDDEN"
    assert (await mesh.caller("root").rollback(1)).generation == 3


async def test_rollback_to_an_unknown_generation_is_not_found(mesh: Any) -> None:
    request = policy_pb2.RollbackRequest(generation=99)
    assert (await mesh.caller("root").refused("Rollback", request))[0] == "NOT_FOUND"


async def test_replay_is_not_carried_yet(mesh: Any) -> None:
    alice = mesh.caller("acme")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in alice.stub.Replay(policy_pb2.ReplayRequest(), metadata=alice.metadata):
            pass
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_restart_loses_nothing(path: Path, serve: Any) -> None:
    async with serve(path) as mesh:
        await mesh.caller("root").apply(
            "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n"
        )
        etag = (await mesh.caller("root").get("Tenant", "acme")).snapshot_etag
    async with serve(path) as mesh:
        again = await mesh.caller("root").get("Tenant", "acme")
        assert again.snapshot_etag == etag
        assert mesh.servicer.current().generation == 1


async def test_nothing_runs_before_the_first_documents(path: Path, serve: Any) -> None:
    async with serve(path) as mesh:
        with pytest.raises(NotPossibleNow, match="no documents yet"):
            mesh.servicer.current()
        reason, _ = await mesh.caller("acme").refused("Evaluate", policy_pb2.EvaluateRequest())
        assert reason == "NOT_POSSIBLE_NOW"


async def test_applied_key_opens_and_deleted_key_does_not(mesh: Any) -> None:
    token, key = new_key()
    tenant = (
        "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: globex}\nspec:\n  principals:\n"
        f"    - {{name: app, keys: [{{id: '{key.id}', hash: '{key.hash}'}}]}}\n"
    )
    assert mesh.servicer.current().authenticate(token, 0) is None
    await mesh.caller("globex").apply(tenant)
    principal = mesh.servicer.current().authenticate(token, 0)
    assert (principal.name, principal.tenant, principal.roles) == ("app", "globex", {"caller"})
    shown = (await mesh.caller("globex").get("Tenant", "globex")).resource.yaml.decode()
    assert token.rpartition("_")[2] not in shown
    await mesh.caller("globex").rollback(1)
    assert mesh.servicer.current().authenticate(token, 0) is None


async def test_caller_that_goes_away_leaves_memory_and_disk_agreeing(
    path: Path, serve: Any
) -> None:
    tenant = "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: t%d}\n"
    async with serve(path) as mesh:
        root = mesh.caller("root")
        for number in range(10):
            call = root.stub.Apply(sent(tenant % number), metadata=root.metadata)
            await asyncio.sleep(number * 0.001)
            call.cancel()
        await root.apply(tenant % 10)
        generation = mesh.servicer.current().generation
        tenants = set(mesh.servicer.current().catalog.tenants)
    async with serve(path) as mesh:
        assert mesh.servicer.current().generation == generation
        assert set(mesh.servicer.current().catalog.tenants) == tenants
        assert "t10" in tenants


TENANT = """
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/keys}
spec:
  principals:
    - name: app
      roles: [caller]
"""


async def test_keys_left_out_are_kept_and_an_empty_list_takes_them(mesh: Any) -> None:
    alice = mesh.caller("acme")
    text, key = new_key()
    with_key = f'{TENANT}      keys: [{{id: "{key.id}", hash: "{key.hash}"}}]\n'
    await alice.apply(with_key)
    await alice.apply(TENANT.replace("[caller]", "[caller, operator]"))
    kept = mesh.servicer.current().authenticate(text, 0)
    assert kept is not None
    assert kept.roles == {"caller", "operator"}
    await alice.apply(f"{TENANT}      keys: []\n")
    assert mesh.servicer.current().authenticate(text, 0) is None
