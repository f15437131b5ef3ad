"""Between the messages of SyncLeases and what the accounts ask and answer."""

from collections.abc import Iterable, Sequence
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.budget.lease import (
    LeaseAsk,
    LeaseGrant,
    LeaseName,
    LeaseReport,
    Push,
    RateAsk,
    RateGrant,
)
from harmost.core.budget.window import Window
from harmost.core.errors import InvalidInput, Violation
from harmost.services.budget.convert import WINDOW_NAMES, WINDOWS, amount_of, path_of
from harmost.services.budget.requests import Closing, KeyClaim, LeaseSync, Proof, Suspense, Synced
from harmost.services.convert.usage import usage_from_proto

__all__ = ["claim_of", "pushed", "registered", "suspense_to_proto", "sync_of", "synced"]

SUSPENSE_MAX = 10_000  # rows of one answer: a megabyte

_STATUS = {
    "applied": pb.SYNC_STATUS_APPLIED,
    "fenced": pb.SYNC_STATUS_FENCED,
    "gap": pb.SYNC_STATUS_GAP,
}


def sync_of(request: pb.SyncLeasesRequest) -> LeaseSync:
    """What a Router says; InvalidInput where it cannot mean anything."""
    return LeaseSync(
        router=request.router_id,
        epoch=request.epoch,
        sequence=request.sequence,
        reports=tuple(
            LeaseReport(each.counter_id, each.posted, each.returned, each.closed)
            for each in request.reports
        ),
        asks=tuple(
            LeaseAsk(
                LeaseName(each.budget, each.unit, _window(each.window)),
                amount=each.amount,
                needed=each.needed,
                minimum=each.minimum,
                following=each.following,
            )
            for each in request.asks
        ),
        rates=tuple(_rate_ask(each) for each in request.rates),
        attempts=_closings(request.attempts),
        proofs=tuple(
            Proof(
                epoch=each.epoch,
                attempts=_closings(each.attempts),
                outstanding=tuple((rest.counter_id, rest.amount) for rest in each.outstanding),
                partial=each.partial,
            )
            for each in request.evidence
        ),
        ended_records=tuple(request.ended_record_ids),
        released_records=tuple(request.released_record_ids),
        held=tuple((each.counter_id, each.held) for each in request.reports),
    )


def registered(epoch: int, *, decided_ns: int) -> pb.SyncLeasesResponse:
    """The answer to a Router that registers."""
    return pb.SyncLeasesResponse(
        epoch=epoch, status=pb.SYNC_STATUS_APPLIED, decided_at=_timestamp(decided_ns)
    )


def synced(epoch: int, answered: Synced) -> pb.SyncLeasesResponse:
    """The answer to a message of `epoch`."""
    answer = answered.answer
    return pb.SyncLeasesResponse(
        epoch=epoch,
        sequence=answer.sequence,
        status=_STATUS[answer.status],
        leases=[
            *(_lease(grant) for grant in answer.grants),
            *(_named(name) for name in answer.unknown),
        ],
        refused=[
            pb.RefusedAttempt(attempt_id=attempt_id, message=message)
            for attempt_id, message in answered.refused
        ],
        decided_at=_timestamp(answer.now_ns),
        rates=[_rate_share(grant) for grant in answer.rates],
    )


def pushed(pushes: Iterable[Push]) -> pb.SyncLeasesResponse:
    """What a Router is told unasked."""
    told = pb.SyncLeasesResponse()
    for push in pushes:
        ids = told.recalled_counter_ids if push.kind == "recall" else told.cleared_counter_ids
        ids.append(push.counter)
    return told


def claim_of(request: pb.ClaimKeyRequest) -> KeyClaim:
    """The key that is claimed."""
    return KeyClaim(
        owner=request.owner,
        key=request.key,
        digest=request.digest,
        record_id=request.record_id,
        router=request.router_id,
        epoch=request.epoch,
    )


def suspense_to_proto(found: Sequence[Suspense]) -> pb.ListSuspenseResponse:
    """What is in suspense as a message, of which the first SUSPENSE_MAX."""
    return pb.ListSuspenseResponse(
        suspense=[
            pb.Suspense(
                router_id=each.router,
                epoch=each.epoch,
                ended=each.ended,
                budget=each.name.budget,
                unit=cast("pb.Unit.ValueType", int(each.name.unit)),
                window=WINDOWS[each.name.window],
                window_start=_timestamp(each.start_ns) if each.name.window != "total" else None,
                amount=each.amount,
            )
            for each in found[:SUSPENSE_MAX]
        ],
        truncated=len(found) > SUSPENSE_MAX,
    )


def _closings(attempts: Iterable[pb.ClosedAttempt]) -> tuple[Closing, ...]:
    return tuple(
        Closing(
            attempt_id=each.attempt_id,
            path=path_of(each.path),
            model=each.model,
            held=amount_of(each.held),
            amount=amount_of(each.amount),
            usage=usage_from_proto(each.usage) if each.HasField("usage") else None,
            counters=tuple(each.counter_ids),
            admitted_ns=each.admitted_at.seconds * 10**9 + each.admitted_at.nanos,
            price_version=each.price_version,
            void=each.void,
        )
        for each in attempts
    )


def _rate_ask(ask: pb.RateAsk) -> RateAsk:
    return RateAsk(
        LeaseName(ask.budget, ask.unit, "minute"),
        per_minute=ask.per_minute,
        burst=ask.burst,
        level=ask.level,
        credit=ask.credit,
        hold=ask.hold,
        needed=ask.needed,
        minimum=ask.minimum,
        returned=ask.returned,
    )


def _rate_share(grant: RateGrant) -> pb.RateShare:
    return pb.RateShare(
        budget=grant.name.budget,
        unit=cast("pb.Unit.ValueType", grant.name.unit),
        share_id=grant.share,
        per_minute=grant.per_minute,
        burst=grant.burst,
        granted=grant.granted,
        limit=grant.limit,
        rest_per_minute=grant.rest_per_minute,
        rest_burst=grant.rest_burst,
        rest_level=grant.rest_level,
        others_level=grant.others_level,
        denied=grant.denied,
        exact=grant.exact,
    )


def _window(window: int) -> Window:
    name = WINDOW_NAMES.get(window)
    if name is None:
        text = "is not stated: say how often the limit starts anew"
        raise InvalidInput(f"`asks.window` {text}", violations=(Violation("asks.window", text),))
    return name


def _lease(grant: LeaseGrant) -> pb.Lease:
    lease = _named(grant.name)
    lease.counter_id = grant.counter
    lease.granted = grant.granted
    lease.limit = grant.limit
    lease.used = grant.used
    lease.enforcement = pb.ENFORCEMENT_HARD if grant.hard else pb.ENFORCEMENT_SOFT
    lease.denied = grant.denied
    if grant.name.window != "total":
        lease.window_start.CopyFrom(_timestamp(grant.start_ns))
        lease.resets_at.CopyFrom(_timestamp(grant.end_ns))
    return lease


def _named(name: LeaseName) -> pb.Lease:
    return pb.Lease(
        budget=name.budget,
        unit=cast("pb.Unit.ValueType", name.unit),
        window=WINDOWS[name.window],
    )


def _timestamp(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)
