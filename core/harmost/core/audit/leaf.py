"""What an entry of the audit log says: of a call, of an erasure, of a pruning.

An entry is JSON, written once; its bytes are what is proven, so nothing ever writes it again from its
values. It never holds prompt or answer text. What may be personal is in it as a commitment alone:
HMAC-SHA256 under a nonce that is kept elsewhere and can be destroyed; without it the commitment says
nothing, not even whether a guess is right.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.audit.tiles import ENTRY_BYTES_MAX
from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import RuleHit
from harmost.core.tenants import ancestors

__all__ = [
    "NONCE_BYTES",
    "RETENTION_DAYS",
    "Opening",
    "Retention",
    "erased",
    "erasure_entry",
    "expires_ns",
    "is_opened_by",
    "openings",
    "pruning_entry",
    "read_entry",
    "record_entry",
]

Retention: TypeAlias = Literal["short", "standard", "long"]
RETENTION_DAYS: Mapping[Retention, int] = {
    "short": 90,
    "standard": 400,  # a year, and a month to report on it
    "long": 2_588,  # seven years, and a month
}
# Of one entry: 32 bytes for each commitment, those of its end user last, which can be destroyed alone.
NONCE_BYTES = 128
_EACH = 32
_CALLER = 2 * _EACH  # agent and principal
_NS_PER_DAY = 86_400 * 10**9
_FORMAT = 1
# Half of an entry: what else is in one is bounded by its proto to less than the other half.
_RULES_BYTES_MAX = 12_000
_ATTEMPTS_BYTES_MAX = 20_000
_ERASED_MAX = 4_000  # indices named in one entry: 10 bytes each


class _Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    attempt_id: str
    model: str
    provider: str
    region: str = ""
    outcome: str
    cost_usd_nanos: int
    input_tokens: int
    output_tokens: int
    price_version: str = ""


class _Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    policy: str
    rule: str
    effect: str
    mode: str = "enforce"
    error: bool = False


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="record"):
    format: int = _FORMAT
    record_id: str
    time_ns: int
    logged_ns: int
    tenant: str
    profile: str
    router_id: str
    journal_sequence: int
    status: str
    reason: str
    effect: str
    snapshot_generation: int
    snapshot_digest: str
    rules: msgspec.Raw
    denied_by: str
    redactions: list[str]
    attempts: msgspec.Raw
    cost_usd_nanos: int
    budget_path: tuple[str, ...]
    retention: Retention
    commitments: dict[str, str]
    omitted: dict[str, str]


class Opening(NamedTuple):
    """What a commitment hides: the value of `field`, and the nonce that proves it."""

    field: str
    value: bytes
    nonce: bytes


def record_entry(
    record: RecordSummary, *, nonce: bytes, retention: Retention, logged_ns: int
) -> bytes:
    """The entry of one call, made at `logged_ns` by the log's own clock. At most ENTRY_BYTES_MAX: of what is too long, its end is left out and a
    digest of the whole stands in `omitted`. 6 us."""
    decision, omitted = record.decision, dict[str, str]()
    hits = decision.hits if decision is not None else ()
    denied_by = decision.denied_by if decision is not None else None
    entry = msgspec.json.encode(
        _Record(
            record_id=record.record_id,
            time_ns=record.started_at_ns,
            logged_ns=logged_ns,
            tenant=record.tenant,
            profile=record.profile,
            router_id=record.router_id,
            journal_sequence=record.journal_sequence,
            status=record.status,
            reason=record.reason,
            effect=decision.effect if decision is not None else "",
            snapshot_generation=decision.snapshot_generation if decision is not None else 0,
            snapshot_digest=record.snapshot_digest.hex(),
            rules=_bounded("rules", [_rule(hit) for hit in hits], _RULES_BYTES_MAX, omitted),
            denied_by=f"{denied_by.policy}/{denied_by.rule}" if denied_by is not None else "",
            redactions=[
                f"{each.data_class}:{each.how}:{each.spans}" for each in decision.redactions[:64]
            ]
            if decision is not None
            else [],
            attempts=_bounded(
                "attempts",
                [_attempt(attempt) for attempt in record.attempts],
                _ATTEMPTS_BYTES_MAX,
                omitted,
            ),
            cost_usd_nanos=record.cost_usd_nanos,
            budget_path=(*ancestors(record.tenant), f"profile:{record.profile}"),
            retention=retention,
            commitments={
                field: _commitment(nonce[start : start + _EACH], value)
                for start, field, value in _hidden(record)
            },
            omitted=omitted,
        )
    )
    if len(entry) > ENTRY_BYTES_MAX:
        raise InvalidInput(f"the audit entry of record `{record.record_id}` is too long: report it")
    return entry


def erasure_entry(
    *, time_ns: int, tenant: str, author: str, reason: str, leaves: list[int]
) -> bytes:
    """That the nonces of `leaves` were destroyed. Says nothing of whose they were."""
    told = {
        "kind": "erasure",
        "format": _FORMAT,
        "time_ns": time_ns,
        "tenant": tenant,
        "author": author,
        "reason": reason,
        "count": len(leaves),
        "leaves": leaves[:_ERASED_MAX],
        "leaves_sha256": sha256(msgspec.json.encode(leaves)).hexdigest(),
    }
    return msgspec.json.encode(told)


def pruning_entry(*, time_ns: int, minimum_index: int) -> bytes:
    """That entries below `minimum_index` are kept no longer."""
    told = {
        "kind": "pruning",
        "format": _FORMAT,
        "time_ns": time_ns,
        "minimum_index": minimum_index,
    }
    return msgspec.json.encode(told)


def read_entry(entry: bytes) -> dict[str, Any]:
    """What an entry says. InvalidInput where it is none."""
    try:
        said = msgspec.json.decode(entry, type=dict[str, Any])
    except msgspec.DecodeError:
        said = dict[str, Any]()
    if said.get("kind") not in ("record", "erasure", "pruning"):
        raise InvalidInput("it is no entry of an audit log of harmost: see which log it is of")
    return said


def expires_ns(said: Mapping[str, Any]) -> int:
    """When the entry that says `said` need not be kept any more, in Unix nanoseconds.

    By the log's own clock: a Router whose clock is wrong neither shortens nor prolongs it. What
    tells of an erasure or a pruning is of use only as long as what stands before it.
    """
    if said["kind"] != "record":
        return int(said["time_ns"])
    days = RETENTION_DAYS.get(said["retention"], RETENTION_DAYS["long"])
    return int(said["logged_ns"]) + days * _NS_PER_DAY


def openings(record: RecordSummary, nonce: bytes) -> list[Opening]:
    """What the commitments of `record` hide, each under a part of `nonce` of its own.

    One may be shown without helping anyone to guess another. What is empty has no commitment, and
    what was erased no opening.
    """
    return [
        Opening(field, value, nonce[start : start + _EACH])
        for start, field, value in _hidden(record)
        if any(nonce[start : start + _EACH])
    ]


def erased(nonce: bytes) -> bytes:
    """`nonce` without what opens what tells of the end user."""
    return nonce[:_CALLER] + bytes(NONCE_BYTES - _CALLER)


def is_opened_by(said: Mapping[str, Any], opening: Opening) -> bool:
    """Whether the entry that says `said` was made of the value that `opening` shows."""
    claimed = said.get("commitments", {}).get(opening.field, "")
    return hmac.compare_digest(str(claimed), _commitment(opening.nonce, opening.value))


def _hidden(record: RecordSummary) -> list[tuple[int, str, bytes]]:
    """What is committed to: where its part of the nonce begins, its name, its value."""
    found: list[tuple[int, str, bytes]] = []
    if record.agent_id:
        found.append((0, "agent_id", record.agent_id.encode()))
    if record.principal:
        found.append((_EACH, "principal", record.principal.encode()))
    if record.end_user_id:
        found.append((2 * _EACH, "end_user_id", record.end_user_id.encode()))
    if record.labels:
        labels = msgspec.json.encode(record.labels, order="sorted")
        found.append((3 * _EACH, "labels", labels))
    return found


def _commitment(nonce: bytes, value: bytes) -> str:
    return hmac.digest(nonce, value, "sha256").hex()


def _bounded(
    name: str, parts: list[_Rule] | list[_Attempt], bytes_max: int, omitted: dict[str, str]
) -> msgspec.Raw:
    """As many of `parts` as fit; where not all do, `omitted` tells how many and a digest of all."""
    whole = msgspec.json.encode(parts)
    if len(whole) <= bytes_max:
        return msgspec.Raw(whole)
    kept, left = 0, bytes_max
    for part in parts:
        left -= len(msgspec.json.encode(part)) + 1
        if left < 0:
            break
        kept += 1
    omitted[name] = (
        f"{len(parts) - kept} of {len(parts)}, sha256 of all {sha256(whole).hexdigest()}"
    )
    return msgspec.Raw(msgspec.json.encode(parts[:kept]))


def _rule(hit: RuleHit) -> _Rule:
    return _Rule(
        policy=hit.policy,
        rule=hit.rule,
        effect=hit.effect,
        mode=hit.mode,
        error=bool(hit.error),
    )


def _attempt(attempt: AttemptSummary) -> _Attempt:
    return _Attempt(
        attempt_id=attempt.attempt_id,
        model=attempt.model,
        provider=attempt.provider,
        region=attempt.region,
        outcome=attempt.outcome,
        cost_usd_nanos=attempt.cost_usd_nanos,
        input_tokens=attempt.usage.input_tokens,
        output_tokens=attempt.usage.output_tokens,
        price_version=attempt.price_version,
    )
