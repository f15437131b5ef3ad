"""The files that the tools of policy authors read: documents, and tests beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmost.core.errors import InvalidInput

if TYPE_CHECKING:
    from harmost.core.resources.parse import ParsedDocument, Source

__all__ = ["Files", "OptionalFiles", "Running", "documents_at", "sources_at", "tests_at"]

_FILE_HELP = "A YAML file, or a directory of them; again for more."
Files = Annotated[list[Path], typer.Option("-f", "--file", help=_FILE_HELP)]
OptionalFiles = Annotated[
    list[Path] | None, typer.Option("-f", "--file", help=_FILE_HELP, show_default=False)
]
Running = Annotated[
    bool, typer.Option("--running", help="Ask the Policy service, about the documents that run.")
]


def tests_at(paths: list[Path]) -> "list[Source]":
    """The files of tests at `paths`, directories searched through."""
    from harmost.core.policy.authoring.cases import is_case_file

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if is_case_file(file.name))
        elif not path.is_file():
            raise InvalidInput(f"no file or directory at `{path}`")
        elif is_case_file(path.name):
            files.append(path)
    if not files:
        places = " or ".join(f"`{path}`" for path in paths)
        raise InvalidInput(f"no tests at {places}: write some into a file named like `a.test.yaml`")
    return _read(files)


def sources_at(paths: list[Path]) -> "list[Source]":
    """The files of documents at `paths`."""
    from harmost.core.policy.authoring.cases import is_case_file
    from harmost.core.resources.parse import Source
    from harmost.services.cli.resources import sources_of

    documents = [path for path in paths if not is_case_file(path.name)]
    return [Source(one.name, one.yaml) for one in sources_of(documents)]


def documents_at(paths: list[Path]) -> "tuple[ParsedDocument, ...]":
    """The documents at `paths`; raises InvalidDocuments with every problem at its place."""
    from harmost.core.resources.parse import parse_sources

    return parse_sources(sources_at(paths))


def _read(files: list[Path]) -> "list[Source]":
    from harmost.core.limits import DOCUMENTS_BYTES_MAX
    from harmost.core.resources.parse import Source

    sources: list[Source] = []
    total = 0
    for file in dict.fromkeys(files):
        with file.open("rb") as opened:
            content = opened.read(DOCUMENTS_BYTES_MAX + 1)
        total += len(content)
        if total > DOCUMENTS_BYTES_MAX:
            raise InvalidInput(f"the tests are over {DOCUMENTS_BYTES_MAX} bytes: run them in parts")
        sources.append(Source(str(file), content))
    return sources
