"""Patterns of `matches`: RE2, which runs in linear time whatever the pattern and text are."""

from typing import Any

# The package has no types at all.
import re2  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["compile_pattern"]

_re2: Any = re2
# Of the automaton of one pattern: RE2's own default, said here because it is our bound.
_BYTES_MAX = 8 * 1024 * 1024


def _options() -> Any:
    options = _re2.Options()
    options.max_mem = _BYTES_MAX
    options.log_errors = False  # they are told, not logged
    return options


def compile_pattern(pattern: str) -> Any:
    """The RE2 of `pattern`, whose `search` takes UTF-8; raises ValueError, which says what is wrong."""
    try:
        return _re2.compile(pattern, _options())
    except _re2.error as error:
        said: str | bytes = error.args[0]
        raise ValueError(
            said.decode(errors="replace") if isinstance(said, bytes) else said
        ) from None
