"""`harmost records`, `harmost tail`: what happened, newest first or as it comes."""

import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["records", "tail"]

PAGE_SIZE = 1_000
STATUSES = (
    "completed",
    "policy_denied",
    "budget_denied",
    "failed",
    "cancelled",
    "interrupted",
    "killed",
)


def records(
    record_id: Annotated[str, typer.Argument(help="One record, whole.")] = "",
    profile: Annotated[str, typer.Option(help="Only of this profile.")] = "",
    status: Annotated[str, typer.Option(help=f"Only {', '.join(STATUSES)}.")] = "",
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At the most so many.")] = 20,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List records of calls, newest first, or show one."""
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.telemetry.v1 import telemetry_pb2

    wanted_status = _status(status)
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("telemetry") as session:
        if record_id:
            request = telemetry_pb2.GetRecordRequest(record_id=record_id)
            emit(plain(session.call("GetRecord", request).record))
            return
        wanted = telemetry_pb2.ListRecordsRequest(
            tenant=tenant,
            profile=profile,
            status=wanted_status,
            page_size=min(limit, PAGE_SIZE),
        )
        pages = session.pages("ListRecords", wanted, limit=-(-limit // PAGE_SIZE))
        found = [record for page in pages for record in page.records][:limit]
    if as_json:
        emit([plain(record) for record in found])
    else:
        _table(found)


def tail(
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    profile: Annotated[str, typer.Option(help="Only of this profile.")] = "",
    status: Annotated[str, typer.Option(help=f"Only {', '.join(STATUSES)}.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Follow records as they come, until Ctrl-C: how each call ended, and why.

    `harmost trace` with the id at the end of a line draws that call.
    """
    from harmost.services.cli.output import console, line, note
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.telemetry.v1 import telemetry_pb2

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = telemetry_pb2.TailDecisionsRequest(
        tenant=tenant, profile=profile, status=_status(status)
    )
    out = console()
    with target.session("telemetry") as session:
        if not as_json:
            note(f"following {session.address}; Ctrl-C ends")
        try:
            for answer in session.stream("TailDecisions", request):
                if as_json:
                    line({"record": plain(answer.record), "missed": answer.missed})
                    continue
                if answer.missed:
                    note(f"{answer.missed} records were left out: this terminal reads too slowly")
                out.print(_followed(answer.record), soft_wrap=True)
                sys.stdout.flush()
        except KeyboardInterrupt:
            return


def _status(text: str) -> Any:
    """The status that `--status` names; 0 for none."""
    from harmost.telemetry.v1 import telemetry_pb2

    if not text:
        return telemetry_pb2.RECORD_STATUS_UNSPECIFIED
    name = text.strip().lower().replace("-", "_")
    if name not in STATUSES:
        raise typer.BadParameter(
            f"`{text}` is no status: use {', '.join(STATUSES)}", param_hint="--status"
        )
    return telemetry_pb2.RecordStatus.Value(f"RECORD_STATUS_{name.upper()}")


def _followed(record: Any) -> str:
    """`record` on one line of markup: what catches the eye first, its id last."""
    from harmost.services.cli.money.draw import escaped
    from harmost.services.cli.output import usd
    from harmost.services.cli.plain import enum_name

    status = enum_name(record.DESCRIPTOR.fields_by_name["status"], record.status)
    colour = "green" if status == "completed" else "yellow" if "denied" in status else "red"
    model = record.attempts[-1].model if record.attempts else "-"
    hops = f" after {len(record.attempts) - 1} more" if len(record.attempts) > 1 else ""
    tokens = record.usage.input_tokens + record.usage.output_tokens
    rules = ", ".join(f"{hit.policy}/{hit.rule}" for hit in record.decision.rules)
    why = " · ".join(part for part in (record.reason, rules) if part)
    ended = record.started_at.ToDatetime() + timedelta(microseconds=record.total_ns // 1000)
    return (
        f"[dim]{ended:%H:%M:%S}[/] [{colour}]{status:13}[/] {escaped(record.tenant)} "
        f"[bold]{escaped(record.profile)}[/] {escaped(model + hops)}  {tokens:,} tokens "
        f"{usd(record.cost_usd_nanos)} {record.total_ns / 1e6:,.0f} ms  [dim]{escaped(why)}[/]  "
        f"[dim]{escaped(record.record_id)}[/]"
    )


def _table(found: list[Any]) -> None:
    from harmost.services.cli.output import table

    table(
        ("record", "started", "tenant", "profile", "status", "model", "rules", "tokens", "cost"),
        (_cells(record) for record in found),
        right=2,
    )


def _cells(record: Any) -> tuple[str, ...]:
    from harmost.services.cli.output import usd
    from harmost.services.cli.plain import enum_name

    status = enum_name(record.DESCRIPTOR.fields_by_name["status"], record.status)
    reason = f" ({record.reason})" if record.reason else ""
    started = record.started_at.ToDatetime().isoformat(sep=" ", timespec="milliseconds")
    return (
        record.record_id,
        started,
        record.tenant,
        record.profile,
        f"{status}{reason}",
        record.attempts[-1].model if record.attempts else "",
        ", ".join(f"{hit.policy}/{hit.rule}" for hit in record.decision.rules),
        f"{record.usage.input_tokens + record.usage.output_tokens:,}",
        usd(record.cost_usd_nanos),
    )
