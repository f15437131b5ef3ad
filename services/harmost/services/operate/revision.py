"""Which Git commit files are of: what `harmost apply` tells Policy about its documents."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["revision_of"]

GIT_TIMEOUT_S = 5.0  # a checkout on a slow disk must not hold up an apply


def revision_of(paths: Sequence[Path]) -> str:
    """The commit that is checked out where `paths` are, "-dirty" behind it if they differ from it.

    "" where they are of no Git checkout, or of several, or where there is no Git. Blocks.
    """
    folders = {path if path.is_dir() else path.parent for path in paths}
    tops = {_git(folder, "rev-parse", "--show-toplevel") for folder in folders}
    if len(tops) != 1 or not (top := tops.pop()):
        return ""
    commit = _git(Path(top), "rev-parse", "--verify", "HEAD")
    if not commit:
        return ""
    names = [str(path.resolve()) for path in paths]
    changed = _git(Path(top), "status", "--porcelain", "--ignored", "--", *names)
    return commit if changed == "" else f"{commit}-dirty"


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None where it does not, or fails."""
    try:
        ran = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return ran.stdout.strip()
