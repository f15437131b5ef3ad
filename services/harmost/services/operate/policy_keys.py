"""The key that signs snapshots and the public keys that may: two files in the data directory.

policy-signing.pem is the Policy service's alone; policy-verify.pem goes to whoever watches it, and
holds the keys of before a rotation too, newest first.
"""

from pathlib import Path

from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import Signer, Verifier, new_signing_key
from harmost.services.operate.keys import write_secret

__all__ = ["SIGNING_KEY", "VERIFY_KEYS", "policy_keys", "rotate_policy_key"]

SIGNING_KEY = "policy-signing.pem"
VERIFY_KEYS = "policy-verify.pem"


def policy_keys(data_dir: Path) -> None:
    """See that both files are there; made at the first start, mode 0600.

    InvalidInput where documents are kept but their key is gone: a new one would make every Router
    refuse what follows, so that is for someone to decide.
    """
    signing, verify = data_dir / SIGNING_KEY, data_dir / VERIFY_KEYS
    if not signing.exists():
        if (data_dir / "policy" / "policy.db").exists():
            raise InvalidInput(
                f"there are documents but no signing key `{signing}`: put it back, or make another "
                f"with `harmost policy rotate-key --data {data_dir}`"
            )
        _write(data_dir, new_signing_key(), before=b"")
    signer = Signer(signing.read_bytes())
    if not verify.exists():
        write_secret(verify, signer.public_pem.decode().strip())
    if signer.key_id not in Verifier([verify.read_bytes()]).key_ids:
        raise InvalidInput(
            f"`{verify}` does not hold the public key of `{signing}`: add it, or remove `{verify}` "
            "to have it made anew"
        )


def rotate_policy_key(data_dir: Path) -> str:
    """Make another signing key; the id of it. Watchers trust old and new, Policy signs from its next start."""
    verify = data_dir / VERIFY_KEYS
    before = verify.read_bytes() if verify.exists() else b""
    return _write(data_dir, new_signing_key(), before=before)


def _write(data_dir: Path, key: bytes, *, before: bytes) -> str:
    signer = Signer(key)
    # The public key first: a crash in between leaves one that nobody signs with.
    write_secret(data_dir / VERIFY_KEYS, (signer.public_pem + before).decode().strip())
    write_secret(data_dir / SIGNING_KEY, key.decode().strip())
    return signer.key_id
