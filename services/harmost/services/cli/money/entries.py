"""`harmost budget entries`: the ledger's rows, the newest first."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["entries"]

KINDS = ("reserve", "settle", "void", "adjust")
PAGE_ROWS = 1_000
ROWS_MAX = 1_000_000
COLUMNS = (
    "row",
    "when",
    "what",
    "tenant",
    "profile",
    "model",
    "attempt, or who and why",
    "tokens",
    "amount",
)


def entries(
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    kind: Annotated[
        str, typer.Option(help=f"Only these, separated by commas: {', '.join(KINDS)}.")
    ] = "",
    model: Annotated[str, typer.Option(help="Only of this model.")] = "",
    attempt: Annotated[str, typer.Option(help="Only of this attempt.")] = "",
    since: Annotated[
        str, typer.Option(help="A span before now, such as 24h, or a time. Empty: all.")
    ] = "",
    until: Annotated[str, typer.Option(help="Likewise, the end. Empty: now.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=ROWS_MAX, help="At the most so many rows.")] = 50,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the first.")
    ] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List ledger rows, the newest first. With --json one a line."""
    from harmost.services.cli.output import console, line, note, table
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    request = _request(tenant, kind, model, attempt, since, until)
    request.page_size = min(PAGE_ROWS, limit)
    request.newest_first = not oldest_first
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("budget") as session:
        found = _rows(session, request, limit)
        if as_json:
            for one in found:
                line(plain(one))
            return
        with console(stderr=True).status("reading ledger rows"):
            rows = list(found)
    table(COLUMNS, map(_cells, rows), right=2)
    if len(rows) == limit:
        note(f"{limit} rows; there may be more: narrow the question, or raise --limit")


def _request(tenant: str, kind: str, model: str, attempt: str, since: str, until: str) -> Any:
    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.moments import moment

    kinds = [one.strip().lower() for one in kind.split(",") if one.strip()]
    unknown = [one for one in kinds if one not in KINDS]
    if unknown:
        raise typer.BadParameter(
            f"`{unknown[0]}` is no kind: use {', '.join(KINDS)}", param_hint="--kind"
        )
    request = pb.ListEntriesRequest(
        tenant=tenant,
        attempt_id=attempt,
        model=model,
        kinds=[pb.EntryKind.Value(f"ENTRY_KIND_{one.upper()}") for one in dict.fromkeys(kinds)],
    )
    now = datetime.now(UTC)
    if since:
        request.start.FromDatetime(moment(since, now=now))
    if until:
        request.end.FromDatetime(moment(until, now=now))
    return request


def _rows(session: Any, request: Any, limit: int) -> "Iterator[Any]":
    left = limit
    for page in session.pages("ListEntries", request):
        for entry in page.entries[:left]:
            yield entry
            left -= 1
        if not left:
            return


def _cells(entry: Any) -> tuple[str, ...]:
    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.output import usd

    kind = pb.EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_").lower()
    if entry.kind == pb.ENTRY_KIND_ADJUST:
        who = f"{entry.budget}: {entry.author}: {entry.reason}"
        amount, tokens = f"{entry.delta:+,}", ""
    else:
        who = entry.attempt_id
        amount = "unknown" if entry.amount.price_unknown else usd(entry.amount.usd_nanos)
        tokens = f"{entry.amount.tokens:,}"
        if entry.debt_usd_nanos:
            amount += f" (debt {usd(entry.debt_usd_nanos)})"
    when = entry.created_at.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (
        str(entry.sequence),
        when,
        kind,
        entry.path.tenant,
        entry.path.profile,
        entry.model,
        who,
        tokens,
        amount,
    )
