"""The private keys that sign the audit log, from where a reference says they are."""

from pathlib import Path

from harmost.core.audit.note import NoteSigner, read_signers
from harmost.core.errors import InvalidInput

__all__ = ["signers_at"]

KEY_BYTES_MAX = 64 * 1024


def signers_at(reference: str, *, origin: str) -> list[NoteSigner]:
    """The keys that "file:PATH" refers to, the one of now first, to sign as the log `origin`.

    InvalidInput where they are not there, or where others may read them: a key is never made here.
    """
    kind, _, name = reference.partition(":")
    if kind != "file" or not name:
        raise InvalidInput("the audit signing key is a reference: write `file:PATH`")
    path = Path(name)
    try:
        with path.open("rb") as file:
            pem = file.read(KEY_BYTES_MAX)
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise InvalidInput(
            f"the audit signing key `{path}` cannot be read: {(error.strerror or '').lower()}: "
            "put it back; without it nothing can be added to its log, and none is made anew"
        ) from None
    if mode & 0o077:
        raise InvalidInput(
            f"the audit signing key `{path}` may be read by others (mode {mode:o}): "
            f"`chmod 600 {path}`, and rotate it if it may have been"
        )
    return read_signers(origin, pem)
