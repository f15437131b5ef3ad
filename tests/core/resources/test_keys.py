"""API keys are long, random, kept as hashes and checked whole."""

import re

import msgspec
import pytest

from harmost.core.resources.keys import expires_s, is_hash, is_key_id, key_id, new_key, verify
from harmost.core.resources.kinds import Key


def test_new_key_has_the_stated_form() -> None:
    text, key = new_key()
    assert re.fullmatch(r"hm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    assert key_id(text) == key.id
    assert is_key_id(key.id)
    assert is_hash(key.hash)


def test_what_is_kept_does_not_hold_the_key() -> None:
    text, key = new_key()
    assert text.rpartition("_")[2] not in str(key)


def test_key_verifies_only_itself() -> None:
    text, key = new_key()
    assert verify(text, key)
    assert not verify(text[:-1] + ("a" if text[-1] != "a" else "b"), key)
    assert not verify(new_key()[0], key)


@pytest.mark.parametrize(
    "token", ["", "hm_", "hm_0123456789ab_", "x" * 10_000, "hm_0123456789AB_" + "a" * 43]
)
def test_nonsense_is_no_key(token: str) -> None:
    assert key_id(token) is None


def test_expiry_is_read_as_a_time() -> None:
    _, key = new_key(expires="2027-01-01T00:00:00Z")
    assert expires_s(key) == 1_798_761_600
    assert expires_s(Key(id="x", hash="")) == float("inf")


@pytest.mark.parametrize("text", ["soon", "2027-01-01T00:00:00", "2027-13-01T00:00:00Z"])
def test_expiry_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        expires_s(msgspec.structs.replace(new_key()[1], expires=text))
