"""Run benchmarks/bench_*.py and merge what they print into benchmarks/results/latest.jsonl.

`python benchmarks/run.py [PREFIX]` runs only bench_PREFIX*.py; a run replaces only the names it measures.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.jsonl"


def main(prefix: str) -> int:
    """Exit status: 0 when every benchmark ran."""
    scripts = sorted(HERE.glob(f"bench_{prefix}*.py"))
    if not scripts:
        known = ", ".join(
            path.stem.removeprefix("bench_") for path in sorted(HERE.glob("bench_*.py"))
        )
        print(f"no benchmark begins with `{prefix}`: there are {known}", file=sys.stderr)
        return 2
    failed = False
    for script in scripts:
        print(f"running {script.name}", file=sys.stderr)
        run = subprocess.run(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False
        )
        failed |= run.returncode != 0
        merge([json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")])
        print(run.stdout, end="", flush=True)
    return int(failed)


def merge(rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the same names in LATEST, keep the others, sorted by name."""
    kept = [json.loads(line) for line in LATEST.read_text().splitlines()] if LATEST.exists() else []
    names = {row["name"] for row in rows}
    merged = [row for row in kept if row["name"] not in names] + rows
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(
        "".join(f"{json.dumps(row)}\n" for row in sorted(merged, key=lambda r: r["name"]))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
