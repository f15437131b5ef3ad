"""Reads a secret from where a `Provider` document says it is. Off the hot path: files are read here."""

import os
from collections.abc import Mapping
from pathlib import Path

from harmost.core.errors import NotPossibleNow

__all__ = ["SECRET_BYTES_MAX", "secret"]

SECRET_BYTES_MAX = 64 * 1024  # no vendor's key or token comes near


def secret(reference: str, *, environment: Mapping[str, str] = os.environ) -> str:
    """The secret that "env:NAME" or "file:PATH" refers to; "" when `reference` is empty.

    Raises NotPossibleNow that says what is missing, never what the secret is. Blocks on files.
    """
    if not reference:
        return ""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = _from_environment(name, environment)
    elif kind == "file":
        value = _from_file(Path(name))
    else:
        # Not quoted: who writes the secret itself here must not find it in a log.
        raise NotPossibleNow("credentials are no reference: write `env:NAME` or `file:PATH`")
    if not value or not value.isascii() or not value.isprintable():
        raise NotPossibleNow(
            f"the credentials in `{reference}` are empty or not printable ascii: write the key alone"
        )
    return value


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise NotPossibleNow(f"no credentials in `env:{name}`: set the environment variable")
    return environment[name].strip()


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise NotPossibleNow(
            f"no credentials in `file:{path}`: {error.strerror or error}: make it readable"
        ) from error
    if len(data) > SECRET_BYTES_MAX:
        raise NotPossibleNow(
            f"the credentials in `file:{path}` are larger than {SECRET_BYTES_MAX} bytes:"
            " write the key alone"
        )
    return data.decode("latin-1").strip()
