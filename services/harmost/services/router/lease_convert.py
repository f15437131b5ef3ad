"""Between the messages of SyncLeases and the core's, on a Router's side."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from google.protobuf.timestamp_pb2 import Timestamp

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.audit.rows import AttemptOpened
from harmost.core.budget.lease import (
    Evidence,
    LeaseAsk,
    LeaseGrant,
    LeaseName,
    Posting,
    Push,
    RateAsk,
    RateGrant,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.budget.window import Window
from harmost.core.usage import TokenUsage
from harmost.services.convert.usage import usage_to_proto

__all__ = ["Told", "answer_of", "closed_attempt", "pushes_of", "request_to_proto", "told_of_row"]

_WINDOWS: dict[Window, "pb.Window.ValueType"] = {
    "minute": pb.WINDOW_MINUTE,
    "hour": pb.WINDOW_HOUR,
    "day": pb.WINDOW_DAY,
    "week": pb.WINDOW_WEEK,
    "month": pb.WINDOW_MONTH,
    "total": pb.WINDOW_TOTAL,
}
_WINDOW_NAMES: dict[int, Window] = {number: name for name, number in _WINDOWS.items()}
_STATUS = {
    pb.SYNC_STATUS_APPLIED: "applied",
    pb.SYNC_STATUS_FENCED: "fenced",
    pb.SYNC_STATUS_GAP: "gap",
}
_END_NS = 2**63 - 1


class Told(NamedTuple):
    """What the ledger is told of an attempt beside its leases."""

    path: BudgetPath
    model: str
    admitted_ns: int
    price_version: str


def told_of_row(row: AttemptOpened) -> Told:
    """The same, from the journal."""
    path = BudgetPath(row.tenant, row.profile, row.agent_id, row.end_user_id)
    version = row.price.version if row.price is not None else ""
    return Told(path, row.model, row.started_at_ns, version)


def closed_attempt(
    attempt_id: str,
    told: Told,
    *,
    held: Amount,
    amount: Amount | None,
    usage: TokenUsage | None,
    counters: Iterable[int],
) -> pb.ClosedAttempt:
    """An attempt that used `amount`; None: nothing."""
    path = told.path
    return pb.ClosedAttempt(
        attempt_id=attempt_id,
        path=pb.BudgetPath(
            tenant=path.tenant,
            profile=path.profile,
            agent_id=path.agent_id,
            end_user_id=path.end_user_id,
        ),
        model=told.model,
        held=_amount(held),
        amount=_amount(amount or Amount(0, 0)),
        usage=usage_to_proto(usage) if usage is not None else None,
        counter_ids=counters,
        admitted_at=_timestamp(told.admitted_ns),
        price_version=told.price_version,
        void=amount is None,
    )


def request_to_proto(
    request: SyncRequest,
    *,
    closed: Callable[[Posting], pb.ClosedAttempt],
    partial: Iterable[int],
    held_of: Callable[[int], int],
    ended_record_ids: Iterable[str],
    released_record_ids: Iterable[str],
) -> pb.SyncLeasesRequest:
    """The message. `closed` finds what is told of a posting; `partial` epochs are not whole."""
    not_whole = frozenset(partial)

    def evidence(proof: Evidence) -> pb.LeaseEvidence:
        return pb.LeaseEvidence(
            epoch=proof.epoch,
            attempts=[closed(posting) for posting in proof.postings],
            outstanding=[
                pb.LeaseOutstanding(counter_id=id, amount=amount)
                for id, amount in proof.outstanding
            ],
            partial=proof.epoch in not_whole,
        )

    return pb.SyncLeasesRequest(
        router_id=request.router,
        epoch=request.epoch,
        sequence=request.sequence,
        reports=[
            pb.LeaseReport(
                counter_id=report.counter,
                posted=report.posted,
                returned=report.returned,
                held=held_of(report.counter),
                closed=report.closed,
            )
            for report in request.reports
        ],
        asks=[_ask(ask) for ask in request.asks],
        attempts=[closed(posting) for posting in request.postings],
        evidence=[evidence(proof) for proof in request.evidence],
        rates=[_rate_ask(ask) for ask in request.rates],
        ended_record_ids=ended_record_ids,
        released_record_ids=released_record_ids,
    )


def answer_of(response: pb.SyncLeasesResponse) -> SyncAnswer:
    """The ledger's answer."""
    return SyncAnswer(
        status=_STATUS[response.status],  # type: ignore[arg-type]
        sequence=response.sequence,
        now_ns=_time_ns(response.decided_at),
        grants=tuple(_grant(lease) for lease in response.leases if lease.counter_id),
        unknown=tuple(_name(lease) for lease in response.leases if not lease.counter_id),
        rates=tuple(_rate_grant(share) for share in response.rates),
    )


def pushes_of(response: pb.SyncLeasesResponse, router: str) -> list[Push]:
    """What the ledger says unasked."""
    return [
        *(Push(router, id, "recall") for id in response.recalled_counter_ids),
        *(Push(router, id, "cleared") for id in response.cleared_counter_ids),
    ]


def _ask(ask: LeaseAsk) -> pb.LeaseAsk:
    return pb.LeaseAsk(
        budget=ask.name.budget,
        unit=cast("pb.Unit.ValueType", ask.name.unit),
        window=_WINDOWS[ask.name.window],
        amount=ask.amount,
        needed=ask.needed,
        minimum=ask.minimum,
        following=ask.following,
    )


def _rate_ask(ask: RateAsk) -> pb.RateAsk:
    return pb.RateAsk(
        budget=ask.name.budget,
        unit=cast("pb.Unit.ValueType", ask.name.unit),
        per_minute=ask.per_minute,
        burst=ask.burst,
        level=ask.level,
        credit=ask.credit,
        hold=ask.hold,
        needed=ask.needed,
        minimum=ask.minimum,
        returned=ask.returned,
    )


def _rate_grant(share: pb.RateShare) -> RateGrant:
    return RateGrant(
        LeaseName(share.budget, int(share.unit), "minute"),
        share=share.share_id,
        per_minute=share.per_minute,
        burst=share.burst,
        granted=share.granted,
        limit=share.limit,
        rest_per_minute=share.rest_per_minute,
        rest_burst=share.rest_burst,
        rest_level=share.rest_level,
        others_level=share.others_level,
        denied=share.denied,
        exact=share.exact,
    )


def _grant(lease: pb.Lease) -> LeaseGrant:
    total = lease.window == pb.WINDOW_TOTAL
    return LeaseGrant(
        counter=lease.counter_id,
        name=_name(lease),
        start_ns=0 if total else _time_ns(lease.window_start),
        end_ns=_END_NS if total else _time_ns(lease.resets_at),
        hard=lease.enforcement == pb.ENFORCEMENT_HARD,
        granted=lease.granted,
        limit=lease.limit,
        used=lease.used,
        denied=lease.denied,
    )


def _name(lease: pb.Lease) -> LeaseName:
    return LeaseName(lease.budget, int(lease.unit), _WINDOW_NAMES[lease.window])


def _amount(amount: Amount) -> pb.Amount:
    return pb.Amount(
        usd_nanos=amount.usd_nanos, tokens=amount.tokens, price_unknown=amount.price_unknown
    )


def _timestamp(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


def _time_ns(moment: Timestamp) -> int:
    return moment.seconds * 10**9 + moment.nanos
