"""The files of the keys that sign snapshots: read anew for each snapshot, so that rotation needs no restart."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import Signer, Verifier

__all__ = ["KEY_BYTES_MAX", "read_signer", "verifier_of"]

KEY_BYTES_MAX = 64 * 1024


def read_signer(path: Path) -> Signer:
    """The private key at `path`. InvalidInput where there is none, or others may read it."""
    content = _read(path, "signing")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise InvalidInput(
            f"the policy signing key `{path}` may be read by others (mode {mode:o}): "
            f"`chmod 600 {path}`, or replace it if it may have been"
        )
    return Signer(content)


def verifier_of(paths: Sequence[Path]) -> Callable[[], Verifier]:
    """What reads the public keys at `paths`. InvalidInput now, where that cannot be done."""
    if not paths:
        raise InvalidInput(
            "no policy verify key: give `--policy-verify-key` with the Policy service's public key"
        )

    def read() -> Verifier:
        return Verifier(_read(path, "verify") for path in paths)

    read()
    return read


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_BYTES_MAX)
    except OSError as error:
        raise InvalidInput(
            f"the policy {what} key `{path}` cannot be read: {(error.strerror or '').lower()}: "
            "name a PEM file"
        ) from None
