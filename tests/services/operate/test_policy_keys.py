"""The signing key is made once, kept to its owner, and never made anew behind anyone's back."""

from pathlib import Path

import pytest

from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import Signer, Verifier
from harmost.services.operate.policy_keys import (
    SIGNING_KEY,
    VERIFY_KEYS,
    policy_keys,
    rotate_policy_key,
)
from harmost.services.snapshots.keys import read_signer, verifier_of


def ids(data: Path) -> tuple[str, tuple[str, ...]]:
    signer = Signer((data / SIGNING_KEY).read_bytes())
    return signer.key_id, Verifier([(data / VERIFY_KEYS).read_bytes()]).key_ids


def test_the_first_start_makes_both_files_for_their_owner(tmp_path: Path) -> None:
    policy_keys(tmp_path)
    for name in (SIGNING_KEY, VERIFY_KEYS):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    before = ids(tmp_path)
    assert before[1] == (before[0],)
    policy_keys(tmp_path)
    assert ids(tmp_path) == before


def test_documents_without_their_key_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.db").touch()
    with pytest.raises(InvalidInput, match="there are documents but no signing key"):
        policy_keys(tmp_path)
    assert not (tmp_path / SIGNING_KEY).exists()
    rotate_policy_key(tmp_path)
    policy_keys(tmp_path)


def test_rotation_trusts_old_and_new(tmp_path: Path) -> None:
    policy_keys(tmp_path)
    old = ids(tmp_path)[0]
    new = rotate_policy_key(tmp_path)
    assert ids(tmp_path) == (new, (new, old))
    policy_keys(tmp_path)


def test_a_key_that_nobody_trusts_stops_the_start(tmp_path: Path) -> None:
    policy_keys(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    policy_keys(other)
    (tmp_path / SIGNING_KEY).write_bytes((other / SIGNING_KEY).read_bytes())
    with pytest.raises(InvalidInput, match="does not hold the public key"):
        policy_keys(tmp_path)
    (tmp_path / VERIFY_KEYS).unlink()
    policy_keys(tmp_path)


def test_a_signing_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    policy_keys(tmp_path)
    assert read_signer(tmp_path / SIGNING_KEY).key_id == ids(tmp_path)[0]
    (tmp_path / SIGNING_KEY).chmod(0o640)
    with pytest.raises(InvalidInput, match=r"may be read by others \(mode 640\)"):
        read_signer(tmp_path / SIGNING_KEY)
    with pytest.raises(InvalidInput, match="cannot be read: no such file"):
        read_signer(tmp_path / "none.pem")


def test_verify_keys_are_read_anew_each_time(tmp_path: Path) -> None:
    policy_keys(tmp_path)
    verifier = verifier_of([tmp_path / VERIFY_KEYS])
    assert len(verifier().key_ids) == 1
    rotate_policy_key(tmp_path)
    assert len(verifier().key_ids) == 2
    with pytest.raises(InvalidInput, match="no policy verify key"):
        verifier_of([])
    with pytest.raises(InvalidInput, match="cannot be read"):
        verifier_of([tmp_path / "none.pem"])
