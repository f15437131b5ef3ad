"""The first start: documents from the examples."""

from collections.abc import Sequence
from itertools import chain
from os.path import commonpath
from pathlib import Path

from harmost.core.errors import InvalidInput
from harmost.policy.v1 import policy_pb2
from harmost.policy.v1.policy_pb2_grpc import PolicyServiceStub
from harmost.services.operate.endpoints import Endpoints
from harmost.services.operate.session import Session

__all__ = ["prepare"]

SUFFIXES = (".yaml", ".yml")


def prepare(
    *,
    endpoints: Endpoints,
    previous: Endpoints | None,
    examples: Sequence[Path],
    service_key: str,
    tls_ca: Path | None,
) -> list[str]:
    """Fill an empty Policy store; say in lines what was done. Blocks."""
    said: list[str] = []
    with Session(endpoints.policy, PolicyServiceStub, key=service_key, tls_ca=tls_ca) as policy:
        was_empty = _is_empty(policy)
        if was_empty and examples:
            count = _apply(policy, _examples(examples, endpoints.sandbox))
            said.append(f"applied {count} documents from {commonpath(examples)}")
        elif was_empty:
            said.append("there are no documents yet: `harmost apply -f DIR`")
        elif previous is not None and _moved(policy, previous.sandbox, endpoints.sandbox):
            said.append(f"the sandbox's providers now point to {endpoints.sandbox}")
    return said


def _is_empty(policy: Session) -> bool:
    answer = policy.call("ListResources", policy_pb2.ListResourcesRequest(page_size=1))
    return not answer.resources


def _examples(paths: Sequence[Path], sandbox: str) -> list[policy_pb2.Source]:
    found = (path.rglob("*") if path.is_dir() else [path] for path in paths)
    files = sorted(
        file
        for file in set(chain.from_iterable(found))
        if file.suffix in SUFFIXES and not file.stem.endswith(".test")
    )
    if not files:
        shown = ", ".join(f"`{path}`" for path in paths)
        raise InvalidInput(f"no YAML file in {shown}: give `--examples PATH`")
    return [
        policy_pb2.Source(
            name=str(file),
            yaml=_pointed(file.read_bytes(), Endpoints().sandbox, sandbox),
        )
        for file in files
    ]


def _pointed(yaml: bytes, old: str, new: str) -> bytes:
    """`yaml` with URLs on `old` turned to `new`: the sandbox's port is not always the usual one."""
    return yaml.replace(f"http://{old}".encode(), f"http://{new}".encode()) if new else yaml


def _moved(policy: Session, old: str, new: str) -> bool:
    if not old or not new or old == new:
        return False
    request = policy_pb2.ListResourcesRequest(kind="Provider", page_size=1_000)
    providers = [one for page in policy.pages("ListResources", request) for one in page.resources]
    changed = [
        policy_pb2.Source(name=f"providers/{one.name}.yaml", yaml=_pointed(one.yaml, old, new))
        for one in providers
        if f"http://{old}/".encode() in one.yaml
    ]
    if changed:
        _apply(policy, changed)
    return bool(changed)


def _apply(policy: Session, sources: list[policy_pb2.Source]) -> int:
    answer = policy.call("Apply", policy_pb2.ApplyRequest(sources=sources))
    return len(answer.changes)
