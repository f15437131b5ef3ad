"""`harmost apply|get|delete`: the documents by which an operator says everything."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.core.errors import InvalidInput
from harmost.core.limits import DOCUMENTS_BYTES_MAX
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.policy.v1 import policy_pb2

__all__ = ["apply", "delete", "get", "sources_of"]

SUFFIXES = (".yaml", ".yml")
SOURCES_MAX = 1_000
MARKS = {"added": "+", "changed": "~", "unchanged": "=", "removed": "-"}
KINDS = ("Tenant", "Provider", "Model", "MissionProfile", "Policy", "Budget")


def apply(
    file: Annotated[
        list[Path],
        typer.Option(
            "-f", "--file", help="A YAML file, a directory of them, or `-`; again for more."
        ),
    ],
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Only check: nothing is changed.")
    ] = False,
    etag: Annotated[str, typer.Option(help="Only if the running snapshot has this etag.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Add and replace documents, all or nothing."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit, note
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target
    from harmost.services.operate.revision import revision_of

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = policy_pb2.ApplyRequest(
        sources=sources_of(file),
        validate_only=validate_only,
        etag=etag,
        source_revision="" if Path("-") in file else revision_of(file),
    )
    with target.session("policy") as session:
        answer = session.call("Apply", request)
    if as_json:
        emit(plain(answer))
        return
    for change in answer.changes:
        kind = policy_pb2.ChangeKind.Name(change.change).removeprefix("CHANGE_KIND_").lower()
        print(f"{MARKS.get(kind, '?')} {change.kind} {change.name} {kind}")
    for warning in answer.warnings:
        note(f"warning: {warning}")
    if not answer.changes:
        raise InvalidInput(f"no documents in {', '.join(f'`{path}`' for path in file)}: add some")
    changed = any(one.change != policy_pb2.CHANGE_KIND_UNCHANGED for one in answer.changes)
    checked = "applied" if changed else "nothing to change"
    if validate_only:
        checked = "valid; nothing is changed"
    note(f"{checked}: {len(answer.changes)} documents, generation {answer.generation}")


def get(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}, or `all`.")],
    name: Annotated[str, typer.Argument(help="Only this document.")] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="table or yaml.")] = "table",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show documents as they are kept."""
    from harmost.services.cli.output import emit, safe, table
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    if output not in ("table", "yaml"):
        raise typer.BadParameter("use table or yaml", param_hint="--output")
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    found = _found(target, _kind(kind, everything=not name), name)
    if as_json:
        emit(plain(found[0]) if name else [plain(one) for one in found])
    elif output == "yaml" or name:
        text = "---\n".join(one.yaml.decode("utf-8", "replace") for one in found)
        sys.stdout.write("".join(safe(part) for part in text.splitlines(keepends=True)))
    else:
        table(
            ("kind", "name", "tenant", "generation"),
            ((one.kind, one.name, one.tenant, str(one.generation)) for one in found),
            right=1,
        )


def delete(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="The document.")],
    etag: Annotated[str, typer.Option(help="Only if the running snapshot has this etag.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Remove a document; refused while another one names it."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    reference = policy_pb2.ResourceRef(kind=_kind(kind, everything=False), name=name)
    with target.session("policy") as session:
        answer = session.call("Delete", policy_pb2.DeleteRequest(resources=[reference], etag=etag))
    if as_json:
        emit(plain(answer))
    else:
        print(f"- {reference.kind} {name} removed, generation {answer.generation}")


def sources_of(paths: list[Path]) -> "list[policy_pb2.Source]":
    """The YAML files at `paths`, directories searched through, each once, in order of name."""
    from harmost.policy.v1 import policy_pb2

    found: list[policy_pb2.Source] = []
    total = 0
    files = (file for path in paths for file in _files(path))
    for file in dict.fromkeys(files):
        if str(file) == "-":
            content = sys.stdin.buffer.read(DOCUMENTS_BYTES_MAX + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(DOCUMENTS_BYTES_MAX + 1)
        total += len(content)
        if total > DOCUMENTS_BYTES_MAX or len(found) >= SOURCES_MAX:
            raise InvalidInput(
                f"more than {SOURCES_MAX} files or {DOCUMENTS_BYTES_MAX} bytes: apply them in parts"
            )
        found.append(
            policy_pb2.Source(name="stdin" if str(file) == "-" else str(file), yaml=content)
        )
    return found


def _files(path: Path) -> list[Path]:
    if str(path) == "-" or path.is_file():
        return [path]
    if not path.is_dir():
        raise InvalidInput(f"no file or directory at `{path}`")
    # Tests of policies stand beside them: `harmost policy test` runs them.
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix in SUFFIXES and not file.stem.endswith(".test") and file.is_file()
    )
    if not found:
        raise InvalidInput(f"no {' or '.join(SUFFIXES)} file below `{path}`")
    return found


def _found(target: Any, kind: str, name: str) -> list[Any]:
    from harmost.policy.v1 import policy_pb2

    with target.session("policy") as session:
        if name:
            wanted = policy_pb2.ResourceRef(kind=kind, name=name)
            answer = session.call("GetResource", policy_pb2.GetResourceRequest(resource=wanted))
            return [answer.resource]
        request = policy_pb2.ListResourcesRequest(kind=kind, page_size=1_000)
        return [one for page in session.pages("ListResources", request) for one in page.resources]


def _kind(text: str, *, everything: bool) -> str:
    """The kind that `text` means: any case, plural or not; "" for all."""
    wanted = text.lower()
    if everything and wanted == "all":
        return ""
    for kind in KINDS:
        one = kind.lower()
        many = one.removesuffix("y") + "ies" if one.endswith("y") else one + "s"
        if wanted in (one, many):
            return kind
    raise typer.BadParameter(f"`{text}` is no kind: use {', '.join(KINDS)}", param_hint="KIND")
