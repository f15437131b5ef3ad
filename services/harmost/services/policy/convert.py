"""Documents and facts between the Policy proto and the domain."""

from collections.abc import Mapping

from google.protobuf import struct_pb2

from harmost.common.v1 import decision_pb2
from harmost.core.errors import InvalidInput, Violation
from harmost.core.limits import GRPC_MESSAGE_BYTES_MAX
from harmost.core.resources.parse import Source
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import Signs, sign_snapshot
from harmost.services.convert.times import time_to_proto
from harmost.services.policy.documents import ChangeKind, Kept, Key, Running
from harmost.services.policy.store import Published

__all__ = [
    "changes_to_proto",
    "facts_from_proto",
    "generation_to_proto",
    "resource_to_proto",
    "snapshot_to_proto",
    "sources_from_proto",
]

DEPTH_MAX = 4  # a fact is a value, a list or a map of values
# Of a message with a snapshot: its signature and what is around it.
_MARGIN_BYTES = 64 * 1024
_CHANGES: Mapping[ChangeKind, "policy_pb2.ChangeKind.ValueType"] = {
    "added": policy_pb2.CHANGE_KIND_ADDED,
    "changed": policy_pb2.CHANGE_KIND_CHANGED,
    "unchanged": policy_pb2.CHANGE_KIND_UNCHANGED,
    "removed": policy_pb2.CHANGE_KIND_REMOVED,
}


def sources_from_proto(
    request: policy_pb2.ApplyRequest | policy_pb2.ReplayRequest,
) -> list[Source]:
    """The files of `request`, without a copy."""
    return [Source(source.name, source.yaml) for source in request.sources]


def resource_to_proto(kept: Kept) -> policy_pb2.Resource:
    """A document as callers see it; keys are hashes in it already."""
    return policy_pb2.Resource(
        kind=kept.stored.kind,
        name=kept.stored.name,
        tenant=kept.owner,
        generation=kept.stored.generation,
        yaml=kept.stored.yaml,
        etag=kept.etag,
    )


def changes_to_proto(kinds: Mapping[Key, ChangeKind]) -> list[policy_pb2.Change]:
    """One for each document that a request spoke of."""
    return [
        policy_pb2.Change(kind=kind, name=name, change=_CHANGES[change])
        for (kind, name), change in kinds.items()
    ]


def snapshot_to_proto(running: Running, signer: Signs) -> policy_pb2.Snapshot:
    """Everything that runs, signed, for watchers. Some 2 us a document."""
    snapshot = policy_pb2.Snapshot(
        generation=running.generation,
        digest=running.snapshot.digest,
        resources=[resource_to_proto(kept) for kept in running.documents.values()],
        published_at=time_to_proto(running.published.published_at_ms * 1_000_000),
        source_revision=running.published.source_revision,
        compiled_policy=running.snapshot.compiled_policy(),
    )
    if snapshot.ByteSize() > GRPC_MESSAGE_BYTES_MAX - _MARGIN_BYTES:
        snapshot.compiled_policy = b""  # watchers then compile the documents themselves
    sign_snapshot(snapshot, signer)
    return snapshot


def generation_to_proto(published: Published, *, whole: bool) -> policy_pb2.Generation:
    """What is told of a generation; to a key of the `whole` deployment also who made it."""
    return policy_pb2.Generation(
        generation=published.generation,
        published_at=time_to_proto(published.published_at_ms * 1_000_000),
        author=published.author if whole else "",
        source_revision=published.source_revision,
        rolled_back_to=published.rolled_back_to,
        changed=published.changed,
        removed=published.removed,
    )


def facts_from_proto(facts: decision_pb2.Facts) -> dict[str, object]:
    """The request facts as builtins; numbers are floats, as in JSON. Their types are not checked."""
    return {name: _plain(value, name, 1) for name, value in facts.request.items()}


def _plain(value: struct_pb2.Value, name: str, depth: int) -> object:
    if depth > DEPTH_MAX:
        problem = f"is nested deeper than {DEPTH_MAX} levels: flatten it"
        raise InvalidInput(f"fact `{name}` {problem}", violations=[Violation(name, problem)])
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_plain(item, name, depth + 1) for item in value.list_value.values]
        case "struct_value":
            fields = value.struct_value.fields
            return {key: _plain(item, name, depth + 1) for key, item in fields.items()}
        case _:
            return None
