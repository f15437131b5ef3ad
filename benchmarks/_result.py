"""How a benchmark says what it measured: one JSON object a line on standard output."""

import json
import os
import platform
import subprocess
from functools import cache

__all__ = ["emit"]


def emit(name: str, value: float, unit: str, n: int) -> None:
    """Print one measurement: `n` is how many operations or runs `value` rests on."""
    row = {"name": name, "value": round(value, 4), "unit": unit, "n": n}
    print(json.dumps({**row, "machine": _machine(), "commit": _commit()}), flush=True)


@cache
def _machine() -> str:
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        model = models[0] if models else model
    except OSError:
        pass  # not Linux: the architecture alone
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}"


@cache
def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"
