"""The house style, held by tests: sizes, docstrings, public names, and Cython without Python inside."""

import ast
import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
PYTHON = [
    path
    for root in ("core", "services", "clients/python/harmost")
    for path in sorted((ROOT / root).rglob("*.py"))
]
# Named as Python's API, but a memory read in C: the annotation cannot tell.
C_MACROS = ("PyUnicode_READ(",)
CYTHON = sorted((ROOT / "core").rglob("*.pyx"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public(node: ast.AST) -> bool:
    return not getattr(node, "name", "_").startswith("_")


@pytest.mark.parametrize("path", PYTHON + CYTHON, ids=name)
def test_files_are_short(path: Path) -> None:
    assert path.read_text().count("\n") <= FILE_LINES_MAX


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_functions_are_short(path: Path) -> None:
    long = [
        f"{node.name}: {size} lines"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_modules_and_public_names_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and public(node)
        and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", [p for p in PYTHON if p.name != "__init__.py"], ids=name)
def test_public_names_are_listed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    listed: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            listed = set(ast.literal_eval(node.value))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and public(node)
    }
    # A name that no other module uses may stay unlisted; a listed one must exist.
    bound = defined | {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert listed - bound - imported == set()
    assert listed or not defined, "public names, but no __all__"


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_cython_has_its_three_files(path: Path) -> None:
    assert path.with_suffix(".pxd").exists()
    assert path.with_suffix(".pyi").exists()


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_nogil_functions_never_call_python(path: Path, tmp_path: Path) -> None:
    """Cython's own annotation scores each line: 0 means plain C."""
    options = ("boundscheck=False", "wraparound=False", "cdivision=True")
    command = [sys.executable, "-m", "cython", "-3", "-a", "-I", str(ROOT / "core")]
    for option in options:
        command += ["-X", option]
    command += ["-o", str(tmp_path / "out.c"), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    page = (tmp_path / "out.html").read_text()
    scores = {
        int(line): int(score)
        for score, line in re.findall(
            r'class="cython line score-(\d+)"[^>]*>[^<]*(?:<[^>]*>)*?(?:\+|&nbsp;| )*<span class="">0*(\d+)',
            page,
        )
    }
    yellow = [
        f"{n}: {text}"
        for n, text in nogil_lines(path)
        if scores.get(n, 0) > 0 and not any(macro in text for macro in C_MACROS)
    ]
    assert scores or "score-" not in html.unescape(page), "the annotation could not be read"
    assert yellow == []


def nogil_lines(path: Path) -> list[tuple[int, str]]:
    """Lines inside the bodies of functions declared `nogil`."""
    found: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line and not line[0].isspace() and not line.startswith(("#", ")")):
            inside = line.startswith("cdef ") and "nogil" in line and line.endswith(":")
        elif inside and line.strip():
            found.append((number, line.strip()))
    return found
