"""`harmost trace RECORD`: one call, drawn; `harmost trace generate|show`: arrivals for `replay`."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.core.trace.arrival import Arrival
    from harmost.core.trace.generate import Share

__all__ = ["app", "read_trace"]

RECORD_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
CALL = "call"


class _RecordOrCommand(TyperGroup):
    """Takes a record's id where a command is expected, as `call` with that id."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begin with."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            if RECORD_ID.fullmatch(args[0]) is None:
                raise typer.BadParameter(
                    f"`{args[0]}` is no record's id, which has 32 hexadecimal digits, and no "
                    "command: use generate, show, or an id that `harmost records` lists",
                    param_hint="RECORD",
                )
            args = [CALL, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_RecordOrCommand,
    help="Draw one call, by its record's id: `harmost trace RECORD`. Or make arrival traces for "
    "`harmost replay`: when requests come, how long they are.",
    no_args_is_help=True,
    subcommand_metavar="RECORD | COMMAND [ARGS]...",
)


@app.command(CALL)
def call(
    record_id: Annotated[str, typer.Argument(metavar="RECORD", help="The id of its record.")],
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Draw one call: admission, decision, attempts, first token, end; what was decided and paid.

    The word `call` may be left out. The id is in what `harmost chat` and `harmost records` print.
    """
    from harmost.services.cli.output import console, emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.services.cli.waterfall import heading, spans_of, told, waterfall
    from harmost.telemetry.v1 import telemetry_pb2

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = telemetry_pb2.GetRecordRequest(record_id=record_id)
    with target.session("telemetry") as session:
        record = session.call("GetRecord", request).record
    if as_json:
        spans = [span._asdict() for span in spans_of(record)]
        emit({"spans": spans, "record": plain(record)})
        return
    out = console()
    for line in (*heading(record), "", *waterfall(record, width=out.width), "", *told(record)):
        out.print(line, soft_wrap=True)


@app.command("generate")
def generate(
    requests: Annotated[int, typer.Option(help="How many.")] = 19_366,
    duration: Annotated[str, typer.Option(help="Within this span, such as 1h or 90s.")] = "1h",
    seed: Annotated[int, typer.Option(help="The same seed makes the same trace.")] = 1,
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TENANT:PROFILE[:WEIGHT]", help="Name tenant and profile of a part; again."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: standard output.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a trace as bursty, and with prompts and answers as long, as an hour of real chat."""
    from datetime import UTC, datetime

    import msgspec

    from harmost.core.errors import InvalidInput
    from harmost.core.trace.arrival import csv_lines
    from harmost.core.trace.generate import generate as make
    from harmost.core.trace.shape import shape_of
    from harmost.services.cli.moments import seconds
    from harmost.services.cli.output import emit, note

    if as_json and out is None:
        raise InvalidInput("`--json` and the trace cannot both go to standard output: give `-o`")
    shares = [_share(text) for text in share or ()]
    arrivals = list(make(requests=requests, duration_s=seconds(duration), seed=seed, shares=shares))
    lines = csv_lines(arrivals, start=datetime(2026, 1, 1, tzinfo=UTC))
    if out is None:
        sys.stdout.writelines(lines)
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    if as_json:
        shape = msgspec.to_builtins(shape_of(arrivals)) if len(arrivals) > 1 else None
        emit({"file": str(out), "requests": len(arrivals), "seed": seed, "shape": shape})
    else:
        note(f"{len(arrivals):,} requests within {duration} written to {out}")


@app.command("show")
def show(
    trace: Annotated[Path, typer.Argument(help="The CSV file.")], as_json: options.Json = False
) -> None:
    """Measure a trace: how bursty it is, how long its prompts and answers are."""
    import msgspec

    from harmost.core.errors import InvalidInput
    from harmost.core.trace.shape import PROBABILITIES, shape_of
    from harmost.services.cli.output import emit, table

    arrivals = read_trace(trace)
    if len(arrivals) < 2:
        raise InvalidInput(f"`{trace}` holds one request: a shape needs two")
    shape = shape_of(arrivals)
    if as_json:
        emit(msgspec.to_builtins(shape))
        return
    names = tuple(f"p{p * 100:.0f}" for p in PROBABILITIES)
    table(
        ("tokens", "mean", *names),
        (
            ("in", f"{shape.input_mean:,.1f}", *(f"{n:,}" for n in shape.input_quantiles)),
            ("out", f"{shape.output_mean:,.1f}", *(f"{n:,}" for n in shape.output_quantiles)),
        ),
        right=len(names) + 1,
    )
    print(
        f"{shape.requests:,} requests in {shape.duration_s:,.1f} s; deviation over mean of the gaps "
        f"{shape.gap_cv:.2f}, of the rate in 1 s {shape.second_cv:.2f}, in 10 s "
        f"{shape.ten_seconds_cv:.2f}, in 60 s {shape.minute_cv:.2f}"
    )


def read_trace(path: Path) -> "list[Arrival]":
    """The arrivals in the file at `path`; errors name file and line."""
    from harmost.core.errors import InvalidInput
    from harmost.core.trace.arrival import read_arrivals

    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return read_arrivals(lines, str(path))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"`{path}` is not UTF-8 text: this is no trace") from error


def _share(text: str) -> "Share":
    from harmost.core.errors import InvalidInput
    from harmost.core.trace.generate import Share

    tenant, _, rest = text.partition(":")
    profile, _, weight = rest.partition(":")
    if not tenant or not profile or not (weight or "1").isdigit() or int(weight or "1") < 1:
        raise InvalidInput(f"share `{text}` is not TENANT:PROFILE or TENANT:PROFILE:WEIGHT")
    return Share(tenant, profile, int(weight or "1"))
