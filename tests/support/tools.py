"""Clients of other languages that tests build from pinned sources, into build/tools."""

import os
from pathlib import Path

import pytest

__all__ = ["TOOLS", "skip_unless_built"]

TOOLS = Path(__file__).parents[2] / "build" / "tools"


def skip_unless_built(program: Path) -> None:
    """Skip where building is not worth a person's minutes: it was never done, and this is not CI."""
    if not program.exists() and not os.environ.get("CI"):
        pytest.skip(f"{program.name} is not built (it takes a minute or two): run once with CI=1")
