"""What a decision was made on and what it was, as bytes that are kept: so that it can be made again.

Never prompt text. Of persons only the pseudonym that the record has too: `request.data_subject_id` is
left out, NOT_RECORDED names it.

The bytes are a MessagePack array: format, generation, candidate models, fact values in the order of
SLOTS, then the outcome. A slot is never moved, removed or given another type: new ones are appended, and
older bytes have their default there.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision
from harmost.core.policy.facts import FactType, FactValue, declared_facts, default_of

__all__ = [
    "NOT_RECORDED",
    "SLOTS",
    "VECTOR_BYTES_MAX",
    "FactVector",
    "Outcome",
    "decoded",
    "encoded",
    "outcome_of",
]

FORMAT = 1
VECTOR_BYTES_MAX = 65_536  # stated in the contract; with every label and claim at its bound: 25 KB
SLOTS = (
    "request.tenant",
    "request.profile",
    "request.principal",
    "request.agent_id",
    "request.end_user_id",
    "labels",
    "purpose",
    "data.classes",
    "data.lawful_basis",
    "subject.region",
    "subject.opt_outs",
    "decision.significant",
    "decision.human_review",
    "input.tokens",
    "input.bytes",
    "output.tokens_max",
    "tenant.allowed_purposes",
    "channel.tls",
    "input.modalities",
)
NOT_RECORDED = frozenset({"request.data_subject_id"})

_TYPES: Mapping[FactType, Any] = {
    FactType.STRING: str,
    FactType.INT: int,
    FactType.BOOL: bool,
    FactType.DOUBLE: float,
    FactType.STRINGS: list[str],
    FactType.STRING_MAP: dict[str, str],
    FactType.INT_MAP: dict[str, int],
}


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What was decided. `denied_by` is policy and rule; None: it was allowed.

    `redactions` are (class, how), sorted. A cap of 0 is none.
    """

    denied_by: tuple[str, str] | None = None
    candidates: tuple[str, ...] = ()
    redactions: tuple[tuple[str, str], ...] = ()
    output_tokens_max: int = 0
    usd_nanos_per_1k_tokens_max: int = 0


def _facts_type() -> type[msgspec.Struct]:
    fields: list[Any] = []
    for number, name in enumerate(SLOTS):
        # Every default is the empty value of its type.
        empty = msgspec.field(default_factory=type(default_of(name)))
        fields.append((f"slot_{number}", _TYPES[declared_facts()[name].type], empty))
    return msgspec.defstruct("_Facts", fields, array_like=True, frozen=True)


if TYPE_CHECKING:  # no type checker sees the fields of a type that is made

    class _Facts(msgspec.Struct):
        def __init__(self, *values: object) -> None: ...
else:
    _Facts = _facts_type()


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    format: int
    generation: int
    candidates: tuple[str, ...]
    facts: _Facts
    outcome: Outcome


class FactVector(msgspec.Struct, frozen=True):
    """One decision: the snapshot `generation` that made it, request facts by name, and its outcome."""

    generation: int
    facts: dict[str, FactValue]
    candidates: tuple[str, ...]
    outcome: Outcome


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Stored)


def outcome_of(decision: Decision) -> Outcome:
    """What `decision` comes to, without the rules that it rests on but for the one that denies."""
    denied_by = decision.denied_by
    redactions = ((each.data_class, each.how) for each in decision.redactions)
    return Outcome(
        denied_by=(denied_by.policy, denied_by.rule) if denied_by else None,
        candidates=decision.candidates,
        redactions=tuple(sorted(redactions)) if decision.redactions else (),
        output_tokens_max=decision.output_tokens_max,
        usd_nanos_per_1k_tokens_max=decision.usd_nanos_per_1k_tokens_max,
    )


def encoded(facts: Mapping[str, FactValue], candidates: Sequence[str], decision: Decision) -> bytes:
    """`facts` and what was decided on them, all of SLOTS being there. Some 2 us, 200 bytes.

    b"" where that has more than VECTOR_BYTES_MAX bytes: a tenant with thousands of purposes.
    """
    vector = _ENCODER.encode(
        _Stored(
            FORMAT,
            decision.snapshot_generation,
            tuple(candidates),
            _Facts(*[facts[name] for name in SLOTS]),
            outcome_of(decision),
        )
    )
    return vector if len(vector) <= VECTOR_BYTES_MAX else b""


def decoded(vector: bytes) -> FactVector:
    """What `encoded` was given; InvalidInput where these are not such bytes. Some 3 us."""
    try:
        stored = _DECODER.decode(vector)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"a fact vector cannot be read: {error}") from None
    if stored.format != FORMAT:
        raise InvalidInput(f"fact vectors of format {stored.format} are not known: upgrade harmost")
    values = msgspec.structs.astuple(stored.facts)
    return FactVector(
        generation=stored.generation,
        facts=dict(zip(SLOTS, values, strict=True)),
        candidates=stored.candidates,
        outcome=stored.outcome,
    )
