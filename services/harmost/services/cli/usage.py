"""`harmost usage`: what was used and what it cost, by whom, on what."""

from typing import Annotated

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["usage"]

BY = ("tenant", "model", "profile", "hour", "day", "agent", "end_user", "status")


def usage(
    by: Annotated[
        str, typer.Option(help=f"Group by, separated by commas: {', '.join(BY)}.")
    ] = "tenant,model",
    since: Annotated[
        str, typer.Option(help="A span before now, such as 24h, or a time. Empty: all.")
    ] = "",
    until: Annotated[str, typer.Option(help="Likewise, the end. Empty: now.")] = "",
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Sum up missions, tokens and cost."""
    from datetime import UTC, datetime

    from harmost.services.cli.moments import moment
    from harmost.services.cli.output import emit, note, table, usd
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.telemetry.v1 import telemetry_pb2

    groups = [group.strip().replace("-", "_") for group in by.split(",") if group.strip()]
    unknown = [group for group in groups if group not in BY]
    if unknown:
        raise typer.BadParameter(
            f"`{unknown[0]}` is not known: use {', '.join(BY)}", param_hint="--by"
        )
    request = telemetry_pb2.QueryUsageRequest(
        tenant=tenant,
        group_by=[telemetry_pb2.GroupBy.Value(f"GROUP_BY_{group.upper()}") for group in groups],
    )
    now = datetime.now(UTC)
    if since:
        request.start.FromDatetime(moment(since, now=now))
    if until:
        request.end.FromDatetime(moment(until, now=now))
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("telemetry") as session:
        answer = session.call("QueryUsage", request)
    if as_json:
        emit({"group_by": groups, **plain(answer)})
        return
    table(
        (*groups, "missions", "denied", "attempts", "tokens in", "tokens out", "cost"),
        (
            (
                *row.keys,
                f"{row.missions:,}",
                f"{row.denials:,}",
                f"{row.attempts:,}",
                f"{row.usage.input_tokens:,}",
                f"{row.usage.output_tokens:,}",
                usd(row.cost_usd_nanos),
            )
            for row in answer.rows
        ),
        right=6,
    )
    if answer.truncated:
        note("more than 10,000 groups: narrow the question with --since, --tenant or --by")
