"""Small audit logs, made by the real sequencer: for tests that look at them, or harm them."""

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.note import NoteSigner, NoteVerifier
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage

__all__ = ["ORIGIN", "files_of", "signer", "verifiers", "written_log"]

ORIGIN = "example.com/audit"


def signer(number: int = 1, name: str = ORIGIN) -> NoteSigner:
    """A key that is the same in every run."""
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def verifiers(*numbers: int) -> list[NoteVerifier]:
    """The public keys of `signer`."""
    return [NoteVerifier(signer(number).vkey) for number in numbers or (1,)]


def written_log(root: Path, batches: Iterable[list[bytes]]) -> Path:
    """A log with a head after each of `batches`."""
    sequencer = Sequencer(DirectoryStorage(root), [signer()])
    sequencer.open(size=0, root=EMPTY_ROOT, waiting=[])
    for batch in batches:
        sequencer.publish(sequencer.add(batch))
    sequencer.close()
    return root


def files_of(root: Path) -> dict[str, bytes]:
    """Every file of a log, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
