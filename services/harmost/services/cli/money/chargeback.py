"""`harmost chargeback`: who pays for a month. Every figure is a sum of ledger rows, to the nanodollar."""

import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from harmost.core.errors import InvalidInput, NotPossibleNow
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["chargeback", "month_of"]

BY = ("tenant", "model", "profile", "agent", "end_user", "day")
MONTH = re.compile(r"(\d{4})-(\d{2})")
# What it asks the ledger for may take a scan of the whole month.
TIMEOUT_S = 600.0
FIGURES = (
    "attempts",
    "tokens",
    "usd_nanos",
    "debt_usd_nanos",
    "price_unknown_attempts",
    "corrections",
    "corrected_usd_nanos",
)


class Line(NamedTuple):
    """One line of the report: what it is of, and its figures in the order of FIGURES."""

    keys: tuple[str, ...]
    figures: tuple[int, ...]


def chargeback(
    month: Annotated[str, typer.Option(help="Which month, such as 2026-11.")],
    by: Annotated[
        str, typer.Option(help=f"One line for each, separated by commas: {', '.join(BY)}.")
    ] = "tenant",
    levels: Annotated[
        int, typer.Option(min=0, max=8, help="How many levels of tenant paths; 0: all.")
    ] = 0,
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    timezone: Annotated[str, typer.Option(help="Whose month, such as Europe/Berlin.")] = "UTC",
    as_csv: Annotated[bool, typer.Option("--csv", help="Answer in CSV.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there.")
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Sum up a month's ledger rows. Money as settled when the row was written; corrections apart."""
    groups = [group.strip().replace("-", "_") for group in by.split(",") if group.strip()]
    unknown = [group for group in groups if group not in BY]
    if unknown:
        raise typer.BadParameter(
            f"`{unknown[0]}` is not known: use {', '.join(BY)}", param_hint="--by"
        )
    if as_csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json", param_hint="--csv")
    start, end = month_of(month, timezone)
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    answer = _ask(target, groups, start, end, levels=levels, tenant=tenant)
    lines, total = _lines(answer)
    if as_json:
        text = _json(groups, start, end, timezone, lines, total)
    elif as_csv:
        text = _csv(groups, lines, total)
    else:
        text = ""
    if not text:
        _print_table(groups, lines, total, month)
    elif output is None:
        print(text, end="")
    if output is not None:
        output.write_text(text or _csv(groups, lines, total), encoding="utf-8")
        _told(f"wrote {len(lines)} lines to `{output}`")


def month_of(text: str, timezone: str) -> tuple[datetime, datetime]:
    """Begin and end of the month `text` in `timezone`, in UTC."""
    match = MONTH.fullmatch(text.strip())
    if match is None or not 1 <= int(match[2]) <= 12 or not 1970 <= int(match[1]) <= 2261:
        raise InvalidInput(f"`{text[:30]}` is no month: write it like 2026-11")
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"`{timezone[:60]}` is no time zone: write one such as Europe/Berlin or UTC"
        ) from error
    year, number = int(match[1]), int(match[2])
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return start.astimezone(UTC), end.astimezone(UTC)


def _ask(
    target: Any, groups: list[str], start: datetime, end: datetime, *, levels: int, tenant: str
) -> Any:
    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.output import console

    request = pb.SumEntriesRequest(
        tenant=tenant,
        tenant_levels=levels,
        group_by=[pb.EntryGroup.Value(f"ENTRY_GROUP_{group.upper()}") for group in groups],
    )
    request.start.FromDatetime(start)
    request.end.FromDatetime(end)
    with (
        console(stderr=True).status("adding up the ledger's rows"),
        target.session("budget") as session,
    ):
        return session.call("SumEntries", request, timeout_s=TIMEOUT_S)


def _lines(answer: Any) -> tuple[list[Line], Line]:
    """The lines and their total, which must be the ledger's own; what did not fit is one line more."""

    def figures(found: Any) -> tuple[int, ...]:
        return tuple(int(getattr(found, name)) for name in FIGURES)

    lines = [Line(tuple(one.keys), figures(one)) for one in answer.sums]
    total = figures(answer.total)
    sums = tuple(map(sum, zip(*(line.figures for line in lines), strict=True))) or (0,) * len(total)
    if answer.truncated:
        rest = tuple(whole - part for whole, part in zip(total, sums, strict=True))
        count = len(lines[0].keys) if lines else 0
        lines.append(Line(("(all others)",) + ("",) * (count - 1), rest))
    elif sums != total:
        raise NotPossibleNow(
            "the lines do not add up to the ledger's total: rows were written meanwhile, or the "
            "ledger is damaged: try again, then run `harmost ledger verify`"
        )
    return lines, Line((), total)


def _csv(groups: list[str], lines: list[Line], total: Line) -> str:
    """RFC 4180. US dollars as decimal numbers with all nine digits, so that a sheet adds exactly."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    money = {name: name.replace("usd_nanos", "usd") for name in FIGURES}
    writer.writerow([*groups, *(money[name] for name in FIGURES)])
    for line in (*lines, Line(("TOTAL",) + ("",) * (len(groups) - 1), total.figures)):
        keys = [_cell(key) for key in line.keys] if groups else []
        writer.writerow(
            [
                *keys,
                *(
                    _dollars(value) if "usd_nanos" in name else value
                    for name, value in zip(FIGURES, line.figures, strict=True)
                ),
            ]
        )
    return out.getvalue()


def _cell(text: str) -> str:
    # A name that a sheet would take for a formula is someone else's code on finance's desk.
    from harmost.services.cli.output import safe

    return f"'{safe(text)}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else safe(text)


def _dollars(nanos: int) -> str:
    sign, nanos = ("-" if nanos < 0 else ""), abs(nanos)
    return f"{sign}{nanos // 10**9}.{nanos % 10**9:09d}"


def _json(
    groups: list[str],
    start: datetime,
    end: datetime,
    timezone: str,
    lines: list[Line],
    total: Line,
) -> str:
    import json

    def told(line: Line) -> dict[str, Any]:
        return dict(zip(groups, line.keys, strict=False)) | dict(
            zip(FIGURES, line.figures, strict=True)
        )

    report = {
        "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": timezone,
        "group_by": groups,
        "lines": [told(line) for line in lines],
        "total": told(total),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _print_table(groups: list[str], lines: list[Line], total: Line, month: str) -> None:
    from harmost.services.cli.output import table, usd

    def cells(line: Line) -> list[str]:
        attempts, tokens, nanos, debt, unknown, corrections, corrected = line.figures
        share = f"{nanos * 100 / total.figures[2]:.1f} %" if total.figures[2] else "-"
        return [
            f"{attempts:,}",
            f"{tokens:,}",
            usd(nanos),
            share,
            usd(debt) if debt else "-",
            f"{unknown:,}" if unknown else "-",
            f"{usd(corrected)} ({corrections})" if corrections else "-",
        ]

    columns = ("attempts", "tokens", "cost", "share", "debt", "without price", "corrected")
    rows = [[*(key or "-" for key in line.keys), *cells(line)] for line in lines]
    if groups:
        rows.append(["total", *("" for _ in groups[1:]), *cells(total)])
    table((*groups, *columns), rows, right=len(columns))
    count = total.figures[0] + total.figures[5]
    _told(f"{month}: the sum of {count:,} ledger rows; corrections are of budgets, not in the cost")


def _told(text: str) -> None:
    from harmost.services.cli.output import note

    note(text)
