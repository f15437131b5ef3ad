"""`harmost embed PROFILE TEXT…`: vectors of texts, one a line."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from harmost.core.errors import InvalidInput
from harmost.core.limits import INPUT_BYTES_MAX
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["embed"]

PURPOSES = ("document", "query", "classification", "clustering")


def embed(
    profile: Annotated[str, typer.Argument(help="Name of the mission profile.")],
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT…", help="A vector for each; `-`: for each line of stdin."),
    ],
    dimensions: Annotated[
        int, typer.Option(min=0, max=65_536, help="Numbers of a vector. 0: as the model gives.")
    ] = 0,
    purpose: Annotated[
        str,
        typer.Option(metavar="PURPOSE", help=f"What they are for: {', '.join(PURPOSES)}."),
    ] = "",
    tenant: Annotated[str, typer.Option(help="Tenant path that is charged.")] = "",
    agent: Annotated[str, typer.Option(help="The agent that calls.")] = "",
    end_user: Annotated[str, typer.Option(help="The person on whose behalf.")] = "",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for the whole call.")] = 60.0,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Turn texts into vectors, a JSON list for each; then say what it cost and what policy said."""
    from harmost.client import Client, EmbedOptions
    from harmost.services.cli.chat import summary
    from harmost.services.cli.output import emit, line, note
    from harmost.services.cli.target import Target
    from harmost.services.operate.session import reaching

    said = EmbedOptions(
        tenant=tenant,
        dimensions=dimensions,
        agent_id=agent,
        end_user_id=end_user,
        timeout_s=timeout,
    )
    match purpose:
        case "":
            pass
        case "document" | "query" | "classification" | "clustering":
            said["purpose"] = purpose
        case _:
            raise InvalidInput(f"no purpose is called `{purpose}`: use {', '.join(PURPOSES)}")
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    where = target.endpoint("router")
    with reaching(where), Client(where, target.api_key(), target.tls()) as client:
        result = client.embed(profile, _texts(texts), **said)
    if as_json:
        vectors = [list(vector) for vector in result.vectors]
        emit({"vectors": vectors, "finished": asdict(result.finished)})
        return
    for vector in result.vectors:
        line(list(vector))
    for warning in result.finished.warnings:
        note(f"warning: {warning}")
    note(summary(result.finished))


def _texts(texts: list[str]) -> list[str]:
    if texts != ["-"]:
        return texts
    found = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    if len(found) > INPUT_BYTES_MAX:
        raise InvalidInput(f"standard input is more than {INPUT_BYTES_MAX} bytes: send less")
    try:
        return found.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"standard input is not UTF-8: {error.reason}") from error
