"""The audit log's key is made once, kept to its owner, rotated with both, and never made anew unasked."""

from pathlib import Path

import pytest
from small_log import ORIGIN

from harmost.core.audit.note import read_verifiers
from harmost.core.errors import InvalidInput
from harmost.services.audit.keys import signers_at
from harmost.services.operate.audit_keys import (
    SIGNING_KEY,
    VERIFY_KEYS,
    audit_keys,
    end_rotation,
    rotate_audit_key,
)


def signing(data: Path) -> list[str]:
    return [key.vkey for key in signers_at(f"file:{data / SIGNING_KEY}", origin=ORIGIN)]


def known(data: Path) -> list[str]:
    return [key.text for key in read_verifiers((data / VERIFY_KEYS).read_text())]


def test_the_first_start_makes_both_files_for_their_owner(tmp_path: Path) -> None:
    audit_keys(tmp_path, origin=ORIGIN)
    for name in (SIGNING_KEY, VERIFY_KEYS):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    before = (tmp_path / SIGNING_KEY).read_bytes()
    audit_keys(tmp_path, origin=ORIGIN)
    assert (tmp_path / SIGNING_KEY).read_bytes() == before
    assert signing(tmp_path) == known(tmp_path)


@pytest.mark.parametrize("left", [VERIFY_KEYS, "telemetry/audit/checkpoint"])
def test_a_log_whose_key_is_gone_stops_the_start(left: str, tmp_path: Path) -> None:
    if left == VERIFY_KEYS:
        audit_keys(tmp_path, origin=ORIGIN)
        (tmp_path / SIGNING_KEY).unlink()
    else:
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
    with pytest.raises(InvalidInput, match=r"there is an audit log .* but no signing key"):
        audit_keys(tmp_path, origin=ORIGIN)
    assert not (tmp_path / SIGNING_KEY).exists()


def test_another_key_in_its_place_stops_the_start(tmp_path: Path) -> None:
    audit_keys(tmp_path, origin=ORIGIN)
    (tmp_path / "other").mkdir()
    audit_keys(tmp_path / "other", origin=ORIGIN)
    (tmp_path / "other" / SIGNING_KEY).replace(tmp_path / SIGNING_KEY)
    with pytest.raises(InvalidInput, match="put back the signing key that belongs to the log"):
        audit_keys(tmp_path, origin=ORIGIN)


def test_a_rotation_signs_with_both_then_with_the_new_one(tmp_path: Path) -> None:
    audit_keys(tmp_path, origin=ORIGIN)
    (old,) = signing(tmp_path)
    new = rotate_audit_key(tmp_path)
    assert signing(tmp_path) == known(tmp_path) == [new, old]
    audit_keys(tmp_path, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="a rotation is under way"):
        rotate_audit_key(tmp_path)
    assert end_rotation(tmp_path) == new
    assert (signing(tmp_path), known(tmp_path)) == ([new], [new, old])
    assert (tmp_path / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInput, match="no rotation is under way"):
        end_rotation(tmp_path)


def test_a_key_that_others_may_read_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    audit_keys(tmp_path, origin=ORIGIN)
    (tmp_path / SIGNING_KEY).chmod(0o644)
    with pytest.raises(InvalidInput, match=r"may be read by others \(mode 644\)"):
        signing(tmp_path)
    (tmp_path / SIGNING_KEY).unlink()
    with pytest.raises(InvalidInput, match="none is made anew"):
        signing(tmp_path)
    with pytest.raises(InvalidInput, match="write `file:PATH`"):
        signers_at("env:KEY", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="cannot be read"):
        rotate_audit_key(tmp_path)
