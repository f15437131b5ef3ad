"""The house's own rules on what may import what, which no linter knows."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)
SERVICES = ROOT / "services/harmost/services"
THE_FOUR = ("router", "policy", "budget", "telemetry")


def sources(*roots: str) -> list[Path]:
    found = [
        p for root in roots for ext in ("py", "pyx", "pxd") for p in (ROOT / root).rglob(f"*.{ext}")
    ]
    assert found, roots
    return [path for path in found if "/gen/" not in str(path)]


def imports(path: Path) -> Iterator[str]:
    for match in IMPORT.finditer(path.read_text()):
        name = match[1] or match[2]
        yield f"{package_of(path)}{name}".rstrip(".") if name.startswith(".") else name


def package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(ROOT).parts[1:])


def wrong(paths: list[Path], *, forbidden: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports(path)
        if forbidden.match(name)
    ]


# What each part must not reach for. core: no I/O, no clock, no loop, nothing above it.
CORE_FORBIDDEN = re.compile(
    r"(grpc|google\.protobuf|google\.rpc|asyncio|aiohttp|apsw|socket|threading|subprocess|time|os|uvloop)\b"
    r"|harmost\.(?!core\b)"
)
# Reads what cel-cpp serializes, by messages of our own: see docs/adr/0010.
CEL_READER = ROOT / "core/harmost/core/policy/cel/lower.py"
CLIENT_FORBIDDEN = re.compile(r"harmost\.(core|services)\b")


def test_core_imports_only_core_and_pure_libraries() -> None:
    others = [path for path in sources("core") if path != CEL_READER]
    assert wrong(others, forbidden=CORE_FORBIDDEN) == []
    also = set(imports(CEL_READER)) - {"google.protobuf.message", "harmost.cel.v1"}
    assert [name for name in also if CORE_FORBIDDEN.match(name)] == []


def test_one_module_loads_the_cel_compiler() -> None:
    users = {
        path for path in sources("core", "services") if "cel_expr_python" in set(imports(path))
    }
    assert users == {ROOT / "core/harmost/core/policy/cel/front.py"}


def test_the_client_imports_only_stubs() -> None:
    assert wrong(sources("clients/python/harmost"), forbidden=CLIENT_FORBIDDEN) == []


@pytest.mark.parametrize("service", THE_FOUR)
def test_services_meet_only_over_grpc(service: str) -> None:
    others = "|".join(name for name in THE_FOUR if name != service)
    forbidden = re.compile(rf"harmost\.services\.({others}|main|cli)\b")
    assert wrong(sources(f"services/harmost/services/{service}"), forbidden=forbidden) == []


def test_only_main_wires_services() -> None:
    shared = [
        path
        for path in sources("services")
        if path.relative_to(SERVICES).parts[0] not in (*THE_FOUR, "main.py")
    ]
    forbidden = re.compile(rf"harmost\.services\.({'|'.join(THE_FOUR)})\b")
    assert wrong(shared, forbidden=forbidden) == []


def test_one_file_on_each_side_knows_the_http2_library() -> None:
    users = {p for p in sources("services", "core") if "ngh2" in set(imports(p))}
    assert users == {SERVICES / "wire/engine.py", SERVICES / "upstream/engine.py"}


def test_the_namespace_has_no_init() -> None:
    for root in ("core", "services", "clients/python", "clients/python/gen"):
        assert not (ROOT / root / "harmost" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("line", "forbidden"),
    [
        ("import asyncio", CORE_FORBIDDEN),
        ("from time import time", CORE_FORBIDDEN),
        ("cimport harmost.services.x", CORE_FORBIDDEN),
        ("    from harmost.router.v1 import router_pb2", CORE_FORBIDDEN),
        ("from harmost.core import errors", CLIENT_FORBIDDEN),
    ],
)
def test_the_check_finds_what_it_forbids(
    tmp_path: Path, line: str, forbidden: re.Pattern[str]
) -> None:
    match = IMPORT.search(line)
    assert match is not None
    assert forbidden.match(match[1] or match[2])
