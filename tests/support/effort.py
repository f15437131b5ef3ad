"""How much a test tries: little on a developer's machine, more in CI, most at night.

HARMOST_EFFORT says which ("default", "ci", "nightly"); without it, "ci" where CI is set.
"""

import os

__all__ = ["effort", "transports"]

LEVELS = ("default", "ci", "nightly")


def effort(default: int, *, ci: int, nightly: int) -> int:
    """The number for this run: cases, seeds or kills."""
    level = os.environ.get("HARMOST_EFFORT") or ("ci" if os.environ.get("CI") else "default")
    if level not in LEVELS:
        raise ValueError(f"HARMOST_EFFORT is `{level}`: it may be {', '.join(LEVELS)}")
    return dict(zip(LEVELS, (default, ci, nightly), strict=True))[level]


def transports() -> tuple[str, ...]:
    """The servers that a whole mesh is tried on: grpcio, the reference, only where there is time.

    What a call does on both is held in every run by tests/integration/test_call.py.
    """
    return ("wire", "grpcio")[: effort(1, ci=2, nightly=2)]
