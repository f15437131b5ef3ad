"""`harmost models list|show|compare|plot|diff`: what there is to call, what it can, what it costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harmost.core.errors import InvalidInput
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.client import ModelInfo
    from harmost.services.cli.money.prices import Known

__all__ = ["app"]

app = typer.Typer()

Status = Literal["active", "canary", "deprecated", "retired"]
File = Annotated[
    list[Path] | None,
    typer.Option(
        "-f",
        "--file",
        help="Of these documents, not of the mesh: a file or directory; again for more.",
    ),
]
Provider = Annotated[str, typer.Option(help="Only of this `Provider`.")]
Capability = Annotated[
    list[str] | None, typer.Option(help="Only what can do this, such as tools; again for more.")
]
Region = Annotated[str, typer.Option(help="Only what runs there, such as EEA.")]
OfStatus = Annotated[Status | None, typer.Option("--status", help="Only of this status.")]
MaxPrice = Annotated[
    str,
    typer.Option(metavar="USD", help="Only what costs no more for a million tokens, in or out."),
]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """See the models of the catalog. Alone, it lists them."""
    if context.invoked_subcommand is None:
        list_models(address=address, key=key, key_file=key_file, data=data, as_json=as_json)


@app.command("list")
def list_models(
    file: File = None,
    provider: Provider = "",
    capability: Capability = None,
    region: Region = "",
    status: OfStatus = None,
    max_price: MaxPrice = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List the models of the catalog, those that end soon with a warning."""
    from harmost.services.cli.models.entries import Wanted
    from harmost.services.cli.output import emit, note, table

    every = _entries(file, address, key, key_file, data)
    wanted = Wanted(provider, tuple(capability or ()), region, status or "", max_price)
    found = wanted.among(every)
    if as_json:
        emit([asdict(one) for one in found])
        return
    heads = ("model", "provider", "region", "status", "can", "context", "in $/M", "out $/M")
    table(heads, map(_row, found), right=3)
    for one in found:
        if one.warning:
            note(f"warning: {one.warning}")
    if len(found) < len(every):
        note(f"{len(found)} of {len(every)} models")


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="Name of a `Model` document.")],
    file: File = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show all that is known of one model."""
    from harmost.services.cli.models.entries import named
    from harmost.services.cli.models.told import told
    from harmost.services.cli.output import emit, note, table

    (one,) = named([model], _entries(file, address, key, key_file, data))
    if as_json:
        emit(asdict(one))
        return
    table(("model", one.name), [(what, said) for what, said in told(one).items() if said])
    if one.warning:
        note(f"warning: {one.warning}")


@app.command("compare")
def compare(
    model: Annotated[list[str], typer.Argument(help="Names of two `Model` documents or more.")],
    file: File = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show models side by side; what is not the same is marked with `*`."""
    from harmost.services.cli.models.entries import named
    from harmost.services.cli.models.told import told
    from harmost.services.cli.output import emit, table

    if len(set(model)) < 2:
        raise InvalidInput("there is nothing to compare: name two models or more")
    found = named(list(dict.fromkeys(model)), _entries(file, address, key, key_file, data))
    if as_json:
        plain = [asdict(one) for one in found]
        differ = [name for name in plain[0] if any(one[name] != plain[0][name] for one in plain)]
        emit({"models": plain, "differences": differ})
        return
    columns = [told(one) for one in found]
    rows: list[tuple[str, ...]] = []
    for what in dict.fromkeys(what for column in columns for what in column):
        said = [column.get(what, "") for column in columns]
        if any(said):
            rows.append(("*" if len(set(said)) > 1 else "", what, *said))
    table(("", "", *(one.name for one in found)), rows)


@app.command("plot")
def plot(
    against: Annotated[
        str, typer.Option(help="What price is drawn against: context, or quality:SUBJECT.")
    ] = "context",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="A .png or .svg; else drawn right here."
        ),
    ] = None,
    file: File = None,
    provider: Provider = "",
    capability: Capability = None,
    region: Region = "",
    status: OfStatus = None,
    max_price: MaxPrice = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
) -> None:
    """Draw what models cost against what they hold, or how good they are."""
    from harmost.services.cli.models.entries import Wanted
    from harmost.services.cli.models.picture import drawn, points_of, write
    from harmost.services.cli.output import console, note

    wanted = Wanted(provider, tuple(capability or ()), region, status or "", max_price)
    found = wanted.among(_entries(file, address, key, key_file, data))
    points = points_of(found, against)
    if output is not None:
        write(points, against, output)
        note(f"{len(points)} of {len(found)} models drawn in {output}")
        return
    out = console()
    for line in drawn(points, against, width=out.width):
        out.print(line, soft_wrap=True, markup=False)
    if len(points) < len(found):
        note(f"{len(points)} of {len(found)} models: of the others price or {against} is not known")


@app.command("diff")
def diff(
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where something differs.")
    ] = False,
    new_max: Annotated[
        int, typer.Option("--new", min=0, help="Name so many new models of each vendor.")
    ] = 10,
    file: File = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show where the catalog and the built-in list differ: prices, contexts, new and vanished models."""
    from harmost.services.cli.models.differ import difference
    from harmost.services.cli.output import emit, note, table

    found = difference(_known(file, address, key, key_file, data))
    if as_json:
        emit(found.plain())
    else:
        if found.rows:
            table(("model", "what", "document", "list", "off"), found.rows, right=3)
        if found.gone:
            table(("not in the list any more", "why"), found.gone)
        for vendor, names in found.new.items():
            shown = ", ".join(names[:new_max])
            more = f" and {len(names) - new_max} more (`--new {len(names)}`)"
            note(f"only in the list, of {vendor}: {shown}{more if len(names) > new_max else ''}")
        note(found.summary())
    if exit_code and (found.rows or found.gone):
        raise typer.Exit(1)


def _entries(
    file: list[Path] | None, address: str, key: str, key_file: Path | None, data: Path
) -> "list[ModelInfo]":
    from harmost.services.cli.models.entries import of_documents, of_mesh
    from harmost.services.cli.target import Target

    if file:
        return of_documents(_known(file, address, key, key_file, data))
    return of_mesh(Target(address=address, key=key, key_file=key_file, data_dir=data))


def _known(
    file: list[Path] | None, address: str, key: str, key_file: Path | None, data: Path
) -> "list[Known]":
    from harmost.services.cli.models.entries import documents_at
    from harmost.services.cli.money.prices import known_in, known_models
    from harmost.services.cli.target import Target

    if file:
        return known_in(documents_at(file))
    return known_models(Target(address=address, key=key, key_file=key_file, data_dir=data))


def _row(one: Any) -> tuple[str, ...]:
    from harmost.services.cli.models.told import per_million

    return (
        one.name,
        one.provider,
        one.region,
        one.status,
        ", ".join(one.capabilities),
        f"{one.context_tokens_max:,}",
        per_million(one.input_usd_picos_per_token),
        per_million(one.output_usd_picos_per_token),
    )
