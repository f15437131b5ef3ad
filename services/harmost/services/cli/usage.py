"""`harmost usage`: what was used and what it cost, by whom, on what, and when."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.services.operate.session import Session

__all__ = ["usage"]

BY = ("tenant", "model", "profile", "hour", "day", "agent", "end_user", "status", "label:NAME")
LABEL = "label:"

Metric = Literal["cost", "tokens", "missions", "attempts", "denied"]


def usage(
    by: Annotated[
        str, typer.Option(help=f"Group by, separated by commas: {', '.join(BY)}.")
    ] = "tenant,model",
    since: Annotated[
        str, typer.Option(help="A span before now, such as 24h, or a time. Empty: all.")
    ] = "",
    until: Annotated[str, typer.Option(help="Likewise, the end. Empty: now.")] = "",
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    profile: Annotated[str, typer.Option(help="Only of this mission profile.")] = "",
    model: Annotated[str, typer.Option(help="Only attempts on this model.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only calls with this label; again for more."),
    ] = None,
    levels: Annotated[
        int, typer.Option(min=0, max=8, help="How many levels of tenant paths; 0: all.")
    ] = 0,
    plot: Annotated[
        Metric | None,
        typer.Option(help="Draw this instead of a table: over time with hour or day in `--by`."),
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Sum up missions, tokens and cost.

    What the last month cost, day by day:   harmost usage --by day,model --since 30d --plot cost

    Who spends, by team:   harmost usage --by label:team,profile --tenant acme
    """
    from harmost.services.cli.output import emit, note
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.telemetry.v1 import telemetry_pb2

    groups = [group.strip() for group in by.split(",") if group.strip()]
    request = telemetry_pb2.QueryUsageRequest(
        tenant=tenant,
        tenant_levels=levels,
        group_by=map(_group, groups),
        label_names=[one.removeprefix(LABEL) for one in groups if one.startswith(LABEL)],
        profile=profile,
        model=model,
        labels=dict(map(_label, label or ())),
    )
    _bound(request, since, until)
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("telemetry") as session:
        answer = session.call("QueryUsage", request)
        if not any(row.missions for row in answer.rows):
            _check_names(session, request)
    if as_json:
        emit({"group_by": groups, **plain(answer)})
        return
    if plot is None:
        _table(groups, answer.rows)
    else:
        _draw(groups, answer.rows, plot)
    if answer.truncated:
        note("more than 10,000 groups: narrow the question with --since, --tenant or --by")


def _group(text: str) -> Any:
    from harmost.telemetry.v1 import telemetry_pb2

    name = "label" if len(text) > len(LABEL) and text.startswith(LABEL) else text.replace("-", "_")
    if name != "label" and name not in BY:
        raise typer.BadParameter(f"`{text}` is not known: use {', '.join(BY)}", param_hint="--by")
    return telemetry_pb2.GroupBy.Value(f"GROUP_BY_{name.upper()}")


def _bound(request: Any, since: str, until: str) -> None:
    from harmost.services.cli.moments import moment

    now = datetime.now(UTC)
    if since:
        request.start.FromDatetime(moment(since, now=now))
    if until:
        request.end.FromDatetime(moment(until, now=now))
        if since and request.start.ToNanoseconds() >= request.end.ToNanoseconds():
            raise typer.BadParameter(
                f"`{until}` is not after `{since}`, where the time begins", param_hint="--until"
            )


def _label(text: str) -> tuple[str, str]:
    name, parted, value = text.partition("=")
    if not parted or not name:
        raise typer.BadParameter(f"`{text}` is no label: write NAME=VALUE", param_hint="--label")
    return name, value


def _check_names(session: "Session", request: Any) -> None:
    """Nothing was found: say so where a name that was asked for was never used, and which were."""
    from harmost.services.cli.output import note
    from harmost.telemetry.v1 import telemetry_pb2 as pb

    asked = [("model", request.model, ""), ("profile", request.profile, "")]
    asked += [(f"label `{name}`", value, name) for name, value in sorted(request.labels.items())]
    asked.insert(0, ("tenant", request.tenant, ""))
    for what, name, label in asked:
        if not name:
            continue
        group = pb.GROUP_BY_LABEL if label else pb.GroupBy.Value(f"GROUP_BY_{what.upper()}")
        every = pb.QueryUsageRequest(group_by=[group], label_names=[label] if label else [])
        known = [row.keys[0] for row in session.call("QueryUsage", every).rows if row.keys[0]]
        if not any(one == name or one.startswith(f"{name}/") for one in known):
            raise _unknown(what, name, known)
    note("nothing was used in that time" if request.HasField("start") else "nothing was used yet")


def _unknown(what: str, name: str, known: Sequence[str]) -> Exception:
    from difflib import get_close_matches

    from harmost.core.errors import NotFound

    shown = [f"`{one}`" for one in get_close_matches(name, known, 3) or known[:10]]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    there = f"there is {', '.join(shown)}{more}" if shown else "there is none yet"
    return NotFound(f"nobody ever used {what} `{name}`: {there}")


def _table(groups: Sequence[str], rows: Sequence[Any]) -> None:
    from harmost.services.cli.output import table, usd

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
            for row in rows
        ),
        right=6,
    )


def _draw(groups: Sequence[str], rows: Sequence[Any], metric: Metric) -> None:
    from harmost.services.cli.output import console
    from harmost.services.cli.usage_plot import drawn

    out = console()
    coloured = out.is_terminal and not out.no_color
    for line in drawn(groups, rows, metric, width=out.width, coloured=coloured):
        out.print(line, soft_wrap=True)
