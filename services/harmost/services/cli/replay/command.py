"""`harmost replay TRACE.csv`: options in, player and proof, report out."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.services.cli.replay.plan import Planned, Weighted
    from harmost.services.cli.replay.tally import Tally
    from harmost.services.cli.target import Target

__all__ = ["replay"]

CONNECTIONS = 4
PROGRESS_EVERY = 20  # calls; drawing for each would cost more than making it


def replay(
    trace: Annotated[Path, typer.Argument(help="A trace; `harmost trace generate` makes one.")],
    speed: Annotated[
        float, typer.Option(min=0.001, max=1_000_000, help="Time is compressed by this.")
    ] = 1.0,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:WEIGHT]",
            help="Profiles for calls that name none; again for more. Default: the replay-* ones.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many. 0: all.")] = 0,
    concurrency_max: Annotated[
        int, typer.Option(min=1, max=100_000, help="Calls at once; later ones wait.")
    ] = 512,
    chunk_tokens: Annotated[
        int, typer.Option(min=1, max=100_000, help="Tokens in each piece of an answer.")
    ] = 16,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each call.")] = 120.0,
    proof: Annotated[
        bool,
        typer.Option("--proof/--no-proof", help="Compare the sandbox's books with the ledger."),
    ] = True,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Play a trace of arrivals through the running mesh, and prove what it cost."""
    from harmost.services.cli.output import emit
    from harmost.services.cli.replay.plan import DEFAULT_MIX, mix_of, plan
    from harmost.services.cli.replay.proof import Books, prove
    from harmost.services.cli.replay.report import document, show
    from harmost.services.cli.target import Target
    from harmost.services.cli.trace import read_trace

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    arrivals = read_trace(trace)[: limit or None]
    mix = mix_of(profile or DEFAULT_MIX)
    _check_profiles(target, mix)
    books = Books(target.endpoint("sandbox")) if proof else None
    span_s = arrivals[-1].offset_ns / 1e9 / speed
    tally = _play(
        target,
        plan(arrivals, speed=speed, mix=mix),
        count=len(arrivals),
        concurrency_max=concurrency_max,
        chunk_tokens=chunk_tokens,
        timeout_s=timeout,
        quiet=as_json,
    )
    proven = None
    if books is not None:
        with target.session("budget") as session:
            proven = prove(books, session, tally.attempts)
    if as_json:
        emit(document(tally, proven, speed=speed, span_s=span_s))
    else:
        show(tally, proven, speed=speed, span_s=span_s)
    if tally.failed or (proven is not None and not proven.holds):
        raise typer.Exit(1)


def _check_profiles(target: "Target", mix: "Sequence[Weighted]") -> None:
    from harmost.client import Client
    from harmost.core.errors import NotFound
    from harmost.services.operate.session import reaching

    where = target.endpoint("router")
    with reaching(where), Client(where, target.api_key(), target.tls()) as client:
        known = {found.name for found in client.profiles()}
    missing = [part.profile for part in mix if part.profile not in known]
    if missing:
        raise NotFound(
            f"no profile `{missing[0]}` that this key may call: apply examples/replay.yaml, or "
            "name others with `--profile`"
        )


def _play(
    target: "Target",
    calls: "Iterator[Planned]",
    *,
    count: int,
    concurrency_max: int,
    chunk_tokens: int,
    timeout_s: float,
    quiet: bool,
) -> "Tally":
    import uvloop

    from harmost.client import AsyncClient
    from harmost.services.cli.replay.player import Player

    where, key, tls = target.endpoint("router"), target.api_key(), target.tls()

    async def run(progress: "Callable[[Tally], None]") -> "Tally":
        clients = [AsyncClient(where, key, tls) for _ in range(CONNECTIONS)]
        try:
            player = Player(
                clients,
                concurrency_max=concurrency_max,
                chunk_tokens=chunk_tokens,
                timeout_s=timeout_s,
                progress=progress,
            )
            return await player.play(calls)
        finally:
            for client in clients:
                await client.close()

    with _progress(count, quiet=quiet) as progress:
        return uvloop.run(run(progress))


@contextmanager
def _progress(count: int, *, quiet: bool) -> "Generator[Callable[[Tally], None], None, None]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from harmost.services.cli.output import console, usd

    with ExitStack() as stack:
        bar = Progress(
            TextColumn("replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
            console=console(stderr=True),
            disable=quiet,
            transient=True,
        )
        stack.enter_context(bar)
        task = bar.add_task("replay", total=count, state="")

        def update(tally: "Tally") -> None:
            if tally.requests % PROGRESS_EVERY == 0 or tally.requests == count:
                state = (
                    f"{usd(tally.total.usd_nanos)}, {tally.denied.total()} denied, "
                    f"{tally.failed.total()} failed"
                )
                bar.update(task, completed=tally.requests, state=state)

        yield update
