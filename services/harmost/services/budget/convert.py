"""Between the messages of the Budget contract and what the accounts ask and answer."""

from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.budget.fold import LedgerFold
from harmost.core.budget.nodes import Amount, BudgetPath, Unit
from harmost.core.budget.window import TIME_NS_MAX, Window, WindowBounds
from harmost.core.errors import InvalidInput, Violation
from harmost.core.tenants import LEVEL_RULE, is_path
from harmost.services.budget.report import SPANS_NS, Group, Report, SumQuestion
from harmost.services.budget.requests import (
    Adjustment,
    BudgetState,
    BudgetWarning,
    Held,
    Reservation,
    Settlement,
)
from harmost.services.budget.rows import Entry, EntryKind, EntryQuestion
from harmost.services.convert.usage import usage_from_proto, usage_to_proto

__all__ = [
    "WINDOWS",
    "WINDOW_NAMES",
    "adjustment_of",
    "amount_of",
    "budget_to_proto",
    "entry_question_of",
    "entry_to_proto",
    "page_number",
    "path_of",
    "proof_to_proto",
    "reservation_of",
    "reserve_response",
    "settlement_of",
    "sum_question_of",
    "sums_to_proto",
]

WINDOWS: dict[Window, "pb.Window.ValueType"] = {
    "minute": pb.WINDOW_MINUTE,
    "hour": pb.WINDOW_HOUR,
    "day": pb.WINDOW_DAY,
    "week": pb.WINDOW_WEEK,
    "month": pb.WINDOW_MONTH,
    "total": pb.WINDOW_TOTAL,
}
WINDOW_NAMES: dict[int, Window] = {number: name for name, number in WINDOWS.items()}


def reservation_of(request: pb.ReserveRequest) -> Reservation:
    """What `request` asks to hold; InvalidInput where it cannot mean anything."""
    amount = amount_of(request.amount)
    minimum = amount_of(request.minimum) if request.HasField("minimum") else None
    if minimum is not None and (
        minimum.usd_nanos > amount.usd_nanos or minimum.tokens > amount.tokens
    ):
        raise _invalid("minimum", "is more than `amount`: ask for less, or leave it out")
    return Reservation(
        attempt_id=request.attempt_id,
        path=path_of(request.path),
        model=request.model,
        amount=amount,
        minimum=minimum,
        lifetime_ns=request.lifetime_ms * 10**6,
        price_version=request.price_version,
    )


def settlement_of(request: pb.SettleRequest) -> Settlement:
    """What `request` says was used."""
    usage = usage_from_proto(request.usage) if request.HasField("usage") else None
    return Settlement(
        attempt_id=request.attempt_id,
        amount=amount_of(request.amount),
        usage=usage,
        evidence=request.evidence,
        price_version=request.price_version,
    )


def adjustment_of(request: pb.AdjustRequest, *, author: str) -> Adjustment:
    """The correction that `author` makes by `request`."""
    if not request.delta:
        raise _invalid("delta", "is 0: say how much to add, or to give back")
    return Adjustment(
        idempotency_key=request.idempotency_key,
        budget=request.budget,
        delta=request.delta,
        author=author,
        reason=request.reason,
        unit=Unit(request.unit) if request.unit else None,
        window=WINDOW_NAMES[request.window] if request.window else None,
    )


def reserve_response(held: Held) -> pb.ReserveResponse:
    """The hold as a message."""
    return pb.ReserveResponse(
        warnings=[_warning_to_proto(warning) for warning in held.warnings],
        held=_amount_to_proto(held.amount),
    )


def budget_to_proto(state: BudgetState) -> pb.Budget:
    """One ceiling with its balances as a message."""
    limit, bounds = state.limit, _bounds(state)
    return pb.Budget(
        name=limit.budget,
        node=limit.node,
        unit=cast("pb.Unit.ValueType", int(limit.unit)),
        window=WINDOWS[limit.window],
        enforcement=pb.ENFORCEMENT_HARD if limit.hard else pb.ENFORCEMENT_SOFT,
        limit=limit.limit,
        settled=state.settled,
        held=state.held,
        debt=state.debt,
        leased=state.leased,
        suspense=state.suspense,
        window_start=_timestamp(bounds.start_ns) if bounds else None,
        resets_at=_timestamp(bounds.end_ns) if bounds else None,
        warn_at_permille=limit.warn_at_permille,
        rate=pb.Rate(**state.rate._asdict()) if state.rate is not None else None,
    )


def entry_to_proto(entry: Entry) -> pb.Entry:
    """One row as a message."""
    adjusts = entry.kind is EntryKind.ADJUST
    delta = entry.settled_usd_nanos + entry.settled_tokens + entry.settled_requests  # one unit
    return pb.Entry(
        sequence=entry.sequence,
        kind=cast("pb.EntryKind.ValueType", int(entry.kind)),
        attempt_id="" if adjusts else entry.key,
        path=pb.BudgetPath(
            tenant=entry.path.tenant,
            profile=entry.path.profile,
            agent_id=entry.path.agent_id,
            end_user_id=entry.path.end_user_id,
        ),
        model=entry.model,
        amount=_amount_to_proto(_amount_of_entry(entry)),
        usage=usage_to_proto(entry.usage) if entry.usage is not None else None,
        created_at=_timestamp(entry.created_ns),
        debt_usd_nanos=0 if adjusts else entry.debt_usd_nanos,
        delta=delta if adjusts else 0,
        budget=entry.budget,
        author=entry.author,
        reason=entry.reason,
        price_version=entry.price_version,
    )


def entry_question_of(request: pb.ListEntriesRequest, *, tenant: str) -> EntryQuestion:
    """Which rows of `tenant` are asked for."""
    start_ns, end_ns = _span_ns(request)
    return EntryQuestion(
        tenant=tenant,
        kinds=frozenset(EntryKind(kind) for kind in request.kinds if kind),
        model=request.model,
        start_ns=start_ns,
        end_ns=end_ns,
        newest_first=request.newest_first,
    )


def proof_to_proto(fold: LedgerFold, *, rows_total: int) -> pb.VerifyLedgerResponse:
    """What a proof found as a message."""
    return pb.VerifyLedgerResponse(
        rows=fold.rows,
        rows_total=rows_total,
        done=True,
        attempts=fold.attempts,
        usd_nanos=fold.usd_nanos,
        findings=[pb.LedgerFinding(**found._asdict()) for found in fold.findings],
        findings_total=fold.found,
    )


def sum_question_of(request: pb.SumEntriesRequest, *, tenant: str) -> SumQuestion:
    """What `request` asks of the rows of `tenant`."""
    groups = tuple(Group(group) for group in request.group_by if group)
    spans = [group for group in groups if group in SPANS_NS]
    if len(set(groups)) < len(request.group_by) or len(spans) > 1:
        raise _invalid("group_by", "names a group twice, none, or two times: name each once")
    start_ns, end_ns = _span_ns(request)
    return SumQuestion(tenant, start_ns, end_ns, groups)


def sums_to_proto(report: Report) -> pb.SumEntriesResponse:
    """A report as a message."""
    return pb.SumEntriesResponse(
        sums=[pb.EntrySum(keys=keys, **found._asdict()) for keys, found in report.sums()],
        total=pb.EntrySum(**report.total._asdict()),
        truncated=report.truncated,
    )


def _span_ns(request: pb.SumEntriesRequest | pb.ListEntriesRequest) -> tuple[int, int]:
    start_ns = _time_ns(request.start) if request.HasField("start") else 0
    end_ns = _time_ns(request.end) if request.HasField("end") else TIME_NS_MAX
    if start_ns > end_ns:
        raise _invalid("start", "is after `end`: exchange them")
    return start_ns, end_ns


def _time_ns(time: Timestamp) -> int:
    time_ns = time.seconds * 10**9 + time.nanos
    if not 0 <= time_ns <= TIME_NS_MAX:
        raise _invalid("start", "or `end` is no time from 1970 to 2261: correct it")
    return time_ns


def page_number(token: str) -> int:
    """Where a page begins; InvalidInput for a token that no page gave."""
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise _invalid("page_token", "is not one that a page gave: begin at the first page")
    return int(token)


def amount_of(amount: pb.Amount) -> Amount:
    """An amount of a message."""
    return Amount(amount.usd_nanos, amount.tokens, amount.price_unknown)


def _amount_to_proto(amount: Amount) -> pb.Amount:
    return pb.Amount(
        usd_nanos=amount.usd_nanos, tokens=amount.tokens, price_unknown=amount.price_unknown
    )


def _amount_of_entry(entry: Entry) -> Amount:
    match entry.kind:
        case EntryKind.RESERVE:
            return Amount(entry.held_usd_nanos, entry.held_tokens, entry.price_unknown)
        case EntryKind.SETTLE:
            return Amount(entry.settled_usd_nanos, entry.settled_tokens, entry.price_unknown)
        case EntryKind.VOID:
            return Amount(-entry.held_usd_nanos, -entry.held_tokens, entry.price_unknown)
        case EntryKind.ADJUST:
            return Amount(0, 0)


def path_of(path: pb.BudgetPath) -> BudgetPath:
    """Where `path` charges; InvalidInput where its tenant is none."""
    if not is_path(path.tenant):
        raise _invalid("path.tenant", f"`{path.tenant[:64]}` is not a tenant path: {LEVEL_RULE}")
    return BudgetPath(path.tenant, path.profile, path.agent_id, path.end_user_id)


def _warning_to_proto(warning: BudgetWarning) -> pb.BudgetWarning:
    return pb.BudgetWarning(
        budget=warning.budget,
        used_permille=warning.used_permille,
        resets_at=_timestamp(warning.resets_at_ns) if warning.resets_at_ns else None,
    )


def _bounds(state: BudgetState) -> WindowBounds | None:
    return None if state.limit.window == "total" else state.bounds


def _timestamp(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


def _invalid(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"`{field}` {description}", violations=(Violation(field, description),))
