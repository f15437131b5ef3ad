"""Options that many commands share: where the mesh is, who asks, in which form to answer."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Address", "DataDir", "Json", "KeyFile", "KeyText"]

Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The service to ask. Default: HARMOST_ADDRESS (the router), "
        "HARMOST_POLICY_ADDRESS and so on, else what `harmost up` wrote, else 127.0.0.1:50051...",
        show_default=False,
        rich_help_panel="Connection",
    ),
]
KeyText = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="HARMOST_KEY",
        show_envvar=True,
        help="The API key. Safer in the environment or a file.",
        show_default=False,
        rich_help_panel="Connection",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="HARMOST_KEY_FILE",
        metavar="FILE",
        help="A file with the API key. Default: admin.key in the data directory.",
        show_default=False,
        rich_help_panel="Connection",
    ),
]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="HARMOST_DATA_DIR",
        metavar="DIR",
        help="The data directory of `harmost up`.",
        rich_help_panel="Connection",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Answer in JSON, one document (streams: one a line).")
]
