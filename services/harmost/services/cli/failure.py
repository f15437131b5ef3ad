"""What a command says when it fails: one line with what to do; violations below it, no traceback."""

import json
import os
import sys
from typing import Any

__all__ = ["report"]

DEBUG = "HARMOST_DEBUG"


def report(error: BaseException, *, as_json: bool) -> int:
    """Print `error` and return the exit code."""
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        # The reader left, as `head` does; without this Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    told = _told(error)
    # Names in documents may hold what drives terminals.
    from harmost.services.cli.output import safe

    print(f"error: {safe(told['message'])}", file=sys.stderr)
    for field, description in told.get("violations", ()):
        print(f"  {safe(field)}: {safe(description)}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": told}, ensure_ascii=False))
    return 1


def _told(error: BaseException) -> dict[str, Any]:
    reason = getattr(error, "reason", "")
    message = getattr(error, "message", "")
    if reason and message:  # a HarmostError of the core or of the client
        told: dict[str, Any] = {"reason": reason, "message": _one_line(message)}
        told["metadata"] = getattr(error, "metadata", None) or getattr(error, "details", None) or {}
        violations = getattr(error, "violations", ())
        if len(violations) > 1 or (violations and violations[0][0] not in message):
            told["violations"] = [tuple(violation) for violation in violations]
        return told
    if isinstance(error, OSError) and error.strerror:
        where = f"`{error.filename}`: " if error.filename else ""
        return {"reason": "OS_ERROR", "message": f"{where}{error.strerror.lower()}"}
    text = _one_line(str(error)) or type(error).__name__
    return {"reason": "INTERNAL", "message": f"{text} (set {DEBUG}=1 to see where)"}


def _one_line(text: str) -> str:
    return " ".join(text.split())
