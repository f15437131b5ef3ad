"""The keys that sign the audit log and the public keys that may: two files in the data directory.

audit-signing.pem is the Telemetry service's alone; during a rotation it holds two keys, the new one
first, and both sign. audit-verify.keys is for auditors: every key that ever signed, newest first.
"""

from pathlib import Path

from harmost.core.audit.note import read_signers, read_verifiers
from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import new_signing_key
from harmost.services.operate.keys import write_secret

__all__ = ["SIGNING_KEY", "VERIFY_KEYS", "audit_keys", "end_rotation", "rotate_audit_key"]

SIGNING_KEY = "audit-signing.pem"
VERIFY_KEYS = "audit-verify.keys"
_TITLE = "# Public keys of the audit log, newest first: `harmost audit verify DIR --key THIS_FILE`"


def audit_keys(data_dir: Path, *, origin: str) -> None:
    """See that both files are there; made at the first start, mode 0600.

    InvalidInput where there is a log but its key is gone: nothing could be added that the old key
    vouches for, so what to do is for someone to decide.
    """
    signing, verify = data_dir / SIGNING_KEY, data_dir / VERIFY_KEYS
    if not signing.exists():
        kept = [path for path in (verify, data_dir / "telemetry" / "audit") if path.exists()]
        if kept:
            raise InvalidInput(
                f"there is an audit log (`{kept[0]}`) but no signing key `{signing}`: put it back "
                "from where secrets are backed up; to begin another log, move the old one and "
                f"`{verify}` away"
            )
        key = new_signing_key()
        _write_verify(verify, [read_signers(origin, key)[0].vkey])
        write_secret(signing, key.decode().strip())
    signers = read_signers(origin, signing.read_bytes())
    if not verify.exists():
        _write_verify(verify, [signer.vkey for signer in signers])
    known = {key.text for key in read_verifiers(verify.read_text())}
    missing = [signer.vkey for signer in signers if signer.vkey not in known]
    if missing:
        raise InvalidInput(
            f"`{verify}` does not hold `{missing[0]}`, the public key of `{signing}`: add it, or "
            "put back the signing key that belongs to the log"
        )


def rotate_audit_key(data_dir: Path) -> str:
    """Make another signing key; its public one. From its next start Telemetry signs with both.

    InvalidInput where the rotation before has not ended, or there is no key to rotate.
    """
    origin, pem = _read(data_dir)
    if len(read_signers(origin, pem)) > 1:
        raise InvalidInput(
            "a rotation is under way: end it with `harmost audit rotate-key --finish` once every "
            "auditor has the new public key"
        )
    key = new_signing_key()
    vkey = read_signers(origin, key)[0].vkey
    verify = data_dir / VERIFY_KEYS
    # The public key first: a crash in between leaves one that nobody signs with.
    _write_verify(verify, [vkey, *(each.text for each in read_verifiers(verify.read_text()))])
    write_secret(data_dir / SIGNING_KEY, (key + pem).decode().strip())
    return vkey


def end_rotation(data_dir: Path) -> str:
    """Sign with the new key alone from the next start; its public one. What the old one signed goes
    on to be verified by its public key, which stays."""
    origin, pem = _read(data_dir)
    signers = read_signers(origin, pem)
    if len(signers) < 2:
        raise InvalidInput("no rotation is under way: begin one with `harmost audit rotate-key`")
    write_secret(data_dir / SIGNING_KEY, signers[0].pem.decode().strip())
    return signers[0].vkey


def _read(data_dir: Path) -> tuple[str, bytes]:
    """The log's name and its signing keys."""
    try:
        origin = read_verifiers((data_dir / VERIFY_KEYS).read_text())[0].name
        return origin, (data_dir / SIGNING_KEY).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"`{error.filename}` cannot be read: {(error.strerror or '').lower()}: a key is rotated "
            "where `harmost up` made it (`--data DIR`)"
        ) from None


def _write_verify(path: Path, keys: list[str]) -> None:
    write_secret(path, "\n".join([_TITLE, *keys]))
