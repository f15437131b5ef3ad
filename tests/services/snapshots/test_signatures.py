"""Unsigned, altered, truncated or older: refused by name, from the wire and from the disk."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from signing import SIGNER, STRANGER, none_revoked, signed, verifier

from harmost.core.errors import InvalidInput, NotPossibleNow
from harmost.core.policy.revocations import Revocation, Revocations
from harmost.core.resources.dump import content_digest
from harmost.core.resources.signing import Verifier
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import revocations_to_proto
from harmost.services.snapshots.cache import SnapshotCache
from harmost.services.snapshots.holder import SnapshotHolder

Spoil = Callable[[policy_pb2.Snapshot], None]
ACME = b"apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata:\n  name: acme\nspec: {}\n"
GLOBEX = ACME.replace(b"acme", b"globex")


def made(generation: int, yaml: bytes = ACME) -> policy_pb2.Snapshot:
    return signed(
        policy_pb2.Snapshot(
            generation=generation,
            digest=content_digest([yaml]),
            resources=[policy_pb2.Resource(kind="Tenant", name="acme", yaml=yaml)],
            source_revision="0123abc",
        )
    )


def unsigned(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.ClearField("signature")


def by_a_stranger(snapshot: policy_pb2.Snapshot) -> None:
    signed(snapshot, STRANGER)


def claiming_our_key(snapshot: policy_pb2.Snapshot) -> None:
    signed(snapshot, STRANGER)
    snapshot.signature.key_id = SIGNER.key_id


def raised(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.generation += 1


def other_commit(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.source_revision = "4567def"


def other_time(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.published_at.nanos += 1


def other_policy(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.compiled_policy = b"allow everything"


def other_digest(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.resources[0].yaml = GLOBEX
    snapshot.digest = content_digest([GLOBEX])


def other_documents(snapshot: policy_pb2.Snapshot) -> None:
    snapshot.resources[0].yaml = GLOBEX


SPOILT: list[tuple[Spoil, str]] = [
    (unsigned, "generation `6` is not signed"),
    (by_a_stranger, "is signed by key `.*`, which is not one of"),
    (claiming_our_key, "is not what key `.*` signed"),
    (raised, "generation `7` is not what key"),
    (other_commit, "is not what key `.*` signed"),
    (other_time, "is not what key `.*` signed"),
    (other_policy, "is not what key `.*` signed"),
    (other_digest, "is not what key `.*` signed"),
    (other_documents, "is damaged: its digest differs"),
]


async def holding(generation: int = 5, cache: SnapshotCache | None = None) -> SnapshotHolder:
    holder = SnapshotHolder(verifier, cache)
    await holder.revoke(none_revoked())
    await holder.take(made(generation))
    return holder


@pytest.mark.parametrize(("spoil", "why"), SPOILT)
async def test_spoilt_snapshot_is_refused_and_the_old_one_stays(spoil: Spoil, why: str) -> None:
    holder = await holding()
    snapshot = made(6)
    spoil(snapshot)
    with pytest.raises(InvalidInput, match=why):
        await holder.take(snapshot)
    assert holder.generation == 5


@pytest.mark.parametrize(("spoil", "why"), SPOILT)
async def test_spoilt_file_is_left_out_by_name(
    spoil: Spoil, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "snapshot.binpb"
    await holding(6, SnapshotCache(path))
    snapshot = policy_pb2.Snapshot.FromString(path.read_bytes())
    spoil(snapshot)
    path.write_bytes(snapshot.SerializeToString())
    holder = SnapshotHolder(verifier, SnapshotCache(path))
    await holder.load()
    with pytest.raises(NotPossibleNow):
        holder.current()
    assert len(caplog.records) == 1
    import re

    assert re.search(why, caplog.text)


async def test_every_truncation_of_a_file_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.binpb"
    await holding(6, SnapshotCache(path))
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        holder = SnapshotHolder(verifier, SnapshotCache(path))
        await holder.load()
        assert holder.generation == 0, size
    path.write_bytes(whole)
    holder = SnapshotHolder(verifier, SnapshotCache(path))
    await holder.load()
    assert holder.generation == 6


async def test_older_file_than_what_ran_here_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "snapshot.binpb"
    holder = await holding(5, SnapshotCache(path))
    old = path.read_bytes()
    await holder.take(made(6))
    path.write_bytes(old)
    again = SnapshotHolder(verifier, SnapshotCache(path))
    await again.load()
    assert again.generation == 0
    assert "it is generation `5` and `6` ran here before" in caplog.text


async def test_older_revocations_file_is_left_out_and_the_snapshot_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "snapshot.binpb"
    holder = await holding(5, SnapshotCache(path))
    file = tmp_path / "revocations.binpb"
    old = file.read_bytes()
    await holder.revoke(stopping(1, "acme"))
    file.write_bytes(old)
    again = SnapshotHolder(verifier, SnapshotCache(path))
    await again.load()
    assert again.generation == 0
    assert "revocations `0` are older than `1`" in caplog.text


@pytest.mark.parametrize("spoilt", [b"", b"\xff\xff", None])
async def test_without_its_revocations_a_file_does_not_run(
    spoilt: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot.binpb"
    await holding(5, SnapshotCache(path))
    file = tmp_path / "revocations.binpb"
    file.unlink() if spoilt is None else file.write_bytes(spoilt)
    again = SnapshotHolder(verifier, SnapshotCache(path))
    await again.load()
    assert again.generation == 0


def stopping(sequence: int, *tenants: str) -> policy_pb2.Revocations:
    revocations = [Revocation(kind="tenant", name=name, tenant=name) for name in tenants]
    return revocations_to_proto(Revocations(sequence, revocations), SIGNER)


async def test_revocations_survive_a_restart_without_policy(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.binpb"
    holder = await holding(5, SnapshotCache(path))
    await holder.revoke(stopping(3, "acme"))
    again = SnapshotHolder(verifier, SnapshotCache(path))
    await again.load()
    assert again.revocations.sequence == 3
    assert [each.name for each in again.revocations.all] == ["acme"]


async def test_spoilt_revocations_are_refused_and_the_old_ones_stay() -> None:
    holder = await holding()
    await holder.revoke(stopping(3, "acme"))
    for spoilt, why in (
        (stopping(2), "older than `3`"),
        (stopping(3), "are others than those in force"),
        (policy_pb2.Revocations(sequence=9), "is not signed"),
    ):
        with pytest.raises(InvalidInput, match=why):
            await holder.revoke(spoilt)
    altered = stopping(4, "acme", "globex")
    del altered.revocations[0]
    with pytest.raises(InvalidInput, match="is not what key"):
        await holder.revoke(altered)
    assert holder.revocations.sequence == 3


async def test_no_snapshot_runs_before_it_is_known_what_is_stopped() -> None:
    holder = SnapshotHolder(verifier, None)
    with pytest.raises(InvalidInput, match="say it first"):
        await holder.take(made(5))


async def test_after_a_rotation_the_same_generation_is_cached_with_its_new_signature(
    tmp_path: Path,
) -> None:
    path = tmp_path / "snapshot.binpb"

    def both() -> Verifier:
        return Verifier([STRANGER.public_pem, SIGNER.public_pem])

    def new_alone() -> Verifier:
        return Verifier([STRANGER.public_pem])

    holder = SnapshotHolder(both, SnapshotCache(path))
    await holder.revoke(none_revoked())
    await holder.take(made(5))
    await holder.revoke(revocations_to_proto(Revocations(), STRANGER))
    await holder.take(signed(made(5), STRANGER))
    again = SnapshotHolder(new_alone, SnapshotCache(path))
    await again.load()
    assert again.generation == 5


async def test_stop_listeners_hear_of_revocations_and_of_snapshots() -> None:
    holder = await holding()
    heard: list[tuple[int, int]] = []

    async def listener() -> None:
        await asyncio.sleep(0)
        heard.append((holder.generation, holder.revocations.sequence))

    holder.on_stop(listener)
    await holder.revoke(stopping(1, "acme"))
    await holder.take(made(6))
    assert heard == [(5, 1), (6, 1)]
