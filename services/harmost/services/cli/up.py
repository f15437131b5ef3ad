"""`harmost up`: the whole mesh on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmost.services.cli.options import Json
from harmost.services.operate.endpoints import DATA_DIR, PORT

if TYPE_CHECKING:
    from harmost.services.operate.endpoints import Endpoints
    from harmost.services.supervisor.supervisor import Plan

__all__ = ["up"]


def up(
    port: Annotated[
        int,
        typer.Option(min=0, max=65_531, help="The router's; the others follow. 0: any free ones."),
    ] = PORT,
    host: Annotated[str, typer.Option(help="Where the router listens.")] = "127.0.0.1",
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", envvar="HARMOST_DATA_DIR", help="Where all is kept."),
    ] = DATA_DIR,
    routers: Annotated[
        int, typer.Option(min=1, max=64, help="Router workers that share its port: one a core.")
    ] = 1,
    transport: Annotated[
        str, typer.Option(envvar="HARMOST_TRANSPORT", help="wire (our own) or grpcio.")
    ] = "wire",
    examples: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Documents for the first start.", show_default=False),
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox/--no-sandbox", help="Start the provider that needs no key.")
    ] = True,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Its authority. Default: the certificate itself."),
    ] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Callers must have a certificate of it.")
    ] = None,
    insecure_listen: Annotated[
        bool, typer.Option("--insecure-listen", help="Let other machines call without TLS.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all that the services say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start all services and keep them running until Ctrl-C."""
    from harmost.core.errors import InvalidInput
    from harmost.services.operate.endpoints import Endpoints
    from harmost.services.supervisor.supervisor import Plan, endpoints_for

    began = time.monotonic()
    if examples is not None and not examples.is_dir():
        raise InvalidInput(f"no directory at `{examples}`: give `--examples DIR`")
    endpoints = endpoints_for(
        host=host,
        port=port,
        sandbox=sandbox,
        tls_ca=tls_ca or tls_cert,
        previous=Endpoints.read(data),
        routers=routers,
    )
    plan = Plan(
        data_dir=data.absolute(),
        endpoints=endpoints,
        transport=transport,
        examples=examples or _shipped_examples(),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        insecure_listen=insecure_listen,
        verbose=verbose,
    )

    _run(plan, data, began, as_json=as_json)


def _run(plan: "Plan", data: Path, began: float, *, as_json: bool) -> None:
    import asyncio

    from harmost.services.settings import Settings
    from harmost.services.supervisor.supervisor import run

    Settings(  # refuses what the router would refuse, before anything is started
        listen=plan.endpoints.router,
        data_dir=data,
        transport=plan.transport,
        tls_cert=plan.tls_cert,
        tls_key=plan.tls_key,
        tls_client_ca=plan.tls_client_ca,
        tls_ca=plan.tls_ca,
        allow_insecure=plan.insecure_listen,
    )

    def announce(said: list[str]) -> None:
        _announce(plan.endpoints, data, said, time.monotonic() - began, as_json=as_json)

    try:
        asyncio.run(run(plan, announce))
    except* Exception as group:  # noqa: BLE001 -- the root of this process
        raise _first(group) from None


def _announce(
    endpoints: "Endpoints", data: Path, said: list[str], took_s: float, *, as_json: bool
) -> None:
    import msgspec

    from harmost.services.cli.output import line

    if as_json:
        line({"endpoints": msgspec.to_builtins(endpoints), "data": str(data), "notes": said})
        return
    others = ", ".join(
        f"{service} {getattr(endpoints, service)}"
        for service in ("policy", "budget", "telemetry", "sandbox")
        if getattr(endpoints, service)
    )
    if len(endpoints.workers) > 1:
        others += f", {len(endpoints.workers)} router workers (see `harmost top`)"
    where = "" if data == DATA_DIR else f" --data {data}"
    lines = [
        f"harmost is up on {endpoints.router} (in {took_s:.1f} s)",
        f"  also   {others}",
        f"  data   {data.absolute()} (admin key: admin.key, logs: logs/)",
        *(f"  note   {text}" for text in said),
        f'  try    harmost chat hello "What is a harmost?"{where}',
        "Ctrl-C ends",
    ]
    print("\n".join(lines), flush=True)


def _shipped_examples() -> Path | None:
    """`examples/` of the repository that this runs from, else of the current directory."""
    from harmost import services

    for root in (Path(services.__file__).parents[3], Path.cwd()):
        if (root / "examples" / "tenants.yaml").is_file():
            return root / "examples"
    return None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
