"""`harmost key create`: an API key, made here; only its hash goes to the mesh."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["app"]

app = typer.Typer(help="API keys of principals.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """API keys of principals."""


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Tenant path, such as acme/retail.")],
    principal: Annotated[str, typer.Option(help="Who calls with it.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help="caller, author, finance or operator; again for more."),
    ] = None,
    expires: Annotated[
        str, typer.Option(help="RFC 3339 time, such as 2027-01-01T00:00:00Z. Empty: never.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there (mode 0600), print nothing.")
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Make a key, add its hash to the tenant's document, print the key once."""
    from harmost.services.cli.output import emit, note
    from harmost.services.cli.target import Target
    from harmost.services.operate.keys import create_key, write_secret

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        made = create_key(
            session, tenant=tenant, principal=principal, roles=role or (), expires=expires
        )
    if out is not None:
        write_secret(out, made)
    if as_json:
        told = {"tenant": tenant, "principal": principal, "id": made.split("_")[1]}
        emit(told | ({"file": str(out)} if out else {"key": made}))
        return
    if out is None:
        sys.stdout.write(made + "\n")
        note("shown once: keep it now; only its hash is stored")
    else:
        note(f"written to {out}")
