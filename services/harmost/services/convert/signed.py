"""Snapshots and revocations on the wire, and what their signatures are over."""

from collections.abc import Mapping
from typing import Protocol

from harmost.core.policy.revocations import Revocation, RevocationKind, Revocations
from harmost.core.resources.signing import Signature, revocations_statement, snapshot_statement
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.enums import literal
from harmost.services.convert.times import time_from_proto, time_to_proto

__all__ = [
    "KIND_NAMES",
    "Signs",
    "revocation_to_proto",
    "revocations_from_proto",
    "revocations_to_proto",
    "sign_snapshot",
    "signature_of",
    "statement_of_revocations",
    "statement_of_snapshot",
]

_NS_PER_MS = 1_000_000
_KINDS: "Mapping[RevocationKind, policy_pb2.RevocationKind.ValueType]" = {
    "tenant": policy_pb2.REVOCATION_KIND_TENANT,
    "profile": policy_pb2.REVOCATION_KIND_PROFILE,
    "agent": policy_pb2.REVOCATION_KIND_AGENT,
    "key": policy_pb2.REVOCATION_KIND_KEY,
    "principal": policy_pb2.REVOCATION_KIND_PRINCIPAL,
    "mission": policy_pb2.REVOCATION_KIND_MISSION,
}
KIND_NAMES: Mapping[int, RevocationKind] = {number: name for name, number in _KINDS.items()}


class Signs(Protocol):
    """A `Signer`."""

    def sign(self, statement: bytes) -> Signature:
        """The signature of `statement`."""
        ...


def statement_of_snapshot(snapshot: policy_pb2.Snapshot) -> bytes:
    """What the signature of `snapshot` is over. Whether `digest` fits the documents: check apart."""
    return snapshot_statement(
        generation=snapshot.generation,
        documents=snapshot.digest,
        compiled_policy=snapshot.compiled_policy,
        source_revision=snapshot.source_revision,
        published_at_ns=time_from_proto(snapshot.published_at),
    )


def sign_snapshot(snapshot: policy_pb2.Snapshot, signer: Signs) -> None:
    """Set its signature."""
    _set(snapshot.signature, signer.sign(statement_of_snapshot(snapshot)))


def signature_of(message: policy_pb2.Snapshot | policy_pb2.Revocations) -> Signature:
    """The signature that `message` bears; empty where it bears none."""
    return Signature(message.signature.key_id, message.signature.value)


def statement_of_revocations(revocations: Revocations) -> bytes:
    """What the signature of `revocations` is over."""
    return revocations_statement(sequence=revocations.sequence, content=revocations.digest)


def revocations_to_proto(revocations: Revocations, signer: Signs) -> policy_pb2.Revocations:
    """All of them, signed."""
    message = policy_pb2.Revocations(
        sequence=revocations.sequence,
        revocations=[revocation_to_proto(each) for each in revocations.all],
    )
    _set(message.signature, signer.sign(statement_of_revocations(revocations)))
    return message


def revocations_from_proto(message: policy_pb2.Revocations) -> Revocations:
    """In the domain, unverified. InvalidInput for a kind that this version does not know."""
    return Revocations(
        message.sequence,
        [
            _from_proto(each, f"revocations[{index}]")
            for index, each in enumerate(message.revocations)
        ],
    )


def revocation_to_proto(revocation: Revocation) -> policy_pb2.Revocation:
    """One, for the wire."""
    return policy_pb2.Revocation(
        kind=_KINDS[revocation.kind],
        name=revocation.name,
        tenant=revocation.tenant,
        reason=revocation.reason,
        author=revocation.author,
        author_tenant=revocation.author_tenant,
        revoked_at=time_to_proto(revocation.revoked_at_ms * _NS_PER_MS),
    )


def _from_proto(message: policy_pb2.Revocation, field: str) -> Revocation:
    return Revocation(
        kind=literal(KIND_NAMES, message.kind, field=f"{field}.kind"),
        name=message.name,
        tenant=message.tenant,
        reason=message.reason,
        author=message.author,
        author_tenant=message.author_tenant,
        revoked_at_ms=time_from_proto(message.revoked_at) // _NS_PER_MS,
    )


def _set(signature: policy_pb2.Signature, made: Signature) -> None:
    signature.key_id, signature.value = made.key_id, made.value
