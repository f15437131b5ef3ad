"""`harmost up`: the whole mesh on this machine."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from harmost.services.cli.options import Json
from harmost.services.operate.endpoints import DATA_DIR, PORT

if TYPE_CHECKING:
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
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Documents for the first start: a YAML file or a directory of them; again for more.",
            show_default=False,
        ),
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
    insecure_listen: Annotated[
        bool, typer.Option("--insecure-listen", help="Let other machines call without TLS.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all that the services say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start all services and keep them running until Ctrl-C."""
    began = time.monotonic()
    plan = _plan(
        port=port,
        host=host,
        routers=routers,
        sandbox=sandbox,
        data_dir=data,
        transport=transport,
        examples=tuple(examples or ()),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca or tls_cert,
        insecure_listen=insecure_listen,
        verbose=verbose,
    )
    _run(plan, data, began, as_json=as_json)


def _run(plan: "Plan", data: Path, began: float, *, as_json: bool) -> None:
    import asyncio

    from harmost.services.supervisor.supervisor import run

    def announce(said: list[str]) -> None:
        _announce(plan, data, said, time.monotonic() - began, as_json=as_json)

    try:
        asyncio.run(run(plan, announce))
    except BaseExceptionGroup as group:  # what a task group's block raises comes wrapped
        raise _first(group) from None


def _plan(
    *,
    port: int,
    host: str,
    routers: int,
    sandbox: bool,
    data_dir: Path,
    examples: tuple[Path, ...],
    tls_ca: Path | None,
    verbose: bool,
    **shared: Any,
) -> "Plan":
    """The plan; what the router would refuse is refused here, before anything is started."""
    from harmost.core.errors import InvalidInput
    from harmost.services.operate.endpoints import Endpoints
    from harmost.services.settings import Settings
    from harmost.services.supervisor.supervisor import Plan, endpoints_for

    for path in examples:
        if not path.exists():
            raise InvalidInput(f"no file or directory at `{path}`: give `--examples PATH`")
    endpoints = endpoints_for(
        host=host,
        port=port,
        sandbox=sandbox,
        tls_ca=tls_ca,
        previous=Endpoints.read(data_dir),
        routers=routers,
    )
    insecure = shared.pop("insecure_listen")
    Settings(
        listen=endpoints.router,
        data_dir=data_dir,
        tls_ca=tls_ca,
        allow_insecure=insecure,
        **shared,
    )
    return Plan(
        data_dir=data_dir.absolute(),
        endpoints=endpoints,
        examples=examples or _shipped_examples(),
        insecure_listen=insecure,
        verbose=verbose,
        **shared,
    )


def _announce(plan: "Plan", data: Path, said: list[str], took_s: float, *, as_json: bool) -> None:
    import msgspec

    from harmost.services.cli.output import line

    endpoints = plan.endpoints
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
    # Other documents than ours may have no such profile.
    is_ours = plan.examples == _shipped_examples()
    what = 'chat hello "What is a harmost?"' if is_ours else "profiles"
    lines = [
        f"harmost is up on {endpoints.router} (in {took_s:.1f} s)",
        f"  also   {others}",
        *([f"  scrape http://{endpoints.metrics}/metrics"] if endpoints.metrics else []),
        f"  data   {data.absolute()} (admin key: admin.key, logs: logs/)",
        *(f"  note   {text}" for text in said),
        f"  try    {_command()} {what}{where}",
        "Ctrl-C ends",
    ]
    print("\n".join(lines), flush=True)


def _shipped_examples() -> tuple[Path, ...]:
    """What stands in `examples/` of the repository that this runs from, else of the current directory.

    Not what is below it: vendors, which need keys.
    """
    from harmost import services

    for root in (Path(services.__file__).parents[3], Path.cwd()):
        if (root / "examples" / "tenants.yaml").is_file():
            return tuple(sorted((root / "examples").glob("*.yaml")))
    return ()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _command() -> str:
    """How this command is typed here: from a checkout, `make run` has no `harmost` on the PATH."""
    command = Path(sys.executable).with_name("harmost")
    try:
        return str(command.relative_to(Path.cwd()))
    except ValueError:
        return "harmost"
