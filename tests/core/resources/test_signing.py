"""Statements say one thing only, and a signature holds for exactly the one that was signed."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import (
    Signature,
    Signer,
    Verifier,
    new_signing_key,
    revocations_statement,
    snapshot_statement,
)

SIGNER = Signer(new_signing_key())
OTHER = Signer(new_signing_key())
STATED = st.fixed_dictionaries(
    {
        "generation": st.integers(0, 2**63 - 1),
        "documents": st.binary(min_size=32, max_size=32),
        "compiled_policy": st.binary(max_size=8),
        "source_revision": st.from_regex(r"[0-9a-zA-Z.+_-]{0,20}", fullmatch=True),
        "published_at_ns": st.integers(0, 2**63 - 1),
    }
)


def test_the_statement_is_this_text() -> None:
    statement = snapshot_statement(
        generation=7,
        documents=b"\x01\x02",
        compiled_policy=b"ir",
        source_revision="0a1b-dirty",
        published_at_ns=1_700_000_000_000_000_000,
    )
    assert statement.decode() == (
        "harmost snapshot v1\ngeneration 7\ndocuments 0102\n"
        f"policy {hashlib.sha256(b'ir').hexdigest()}\nsource 0a1b-dirty\n"
        "published 1700000000000000000\n"
    )
    assert revocations_statement(sequence=3, content=b"\xff") == (
        b"harmost revocations v1\nsequence 3\ncontent ff\n"
    )


@given(STATED, STATED)
def test_two_snapshots_never_have_one_statement(a: dict, b: dict) -> None:  # type: ignore[type-arg]
    assert (snapshot_statement(**a) == snapshot_statement(**b)) == (a == b)


@pytest.mark.parametrize("revision", ["a\nb", "a b", "ä", "x" * 101])
def test_a_revision_that_could_be_read_in_two_ways_is_not_stated(revision: str) -> None:
    with pytest.raises(InvalidInput, match="is no source revision"):
        snapshot_statement(
            generation=1,
            documents=b"",
            compiled_policy=b"",
            source_revision=revision,
            published_at_ns=0,
        )


def test_a_signature_holds_for_its_statement_and_its_key_alone() -> None:
    verifier = Verifier([SIGNER.public_pem + OTHER.public_pem])
    made = SIGNER.sign(b"statement")
    verifier.check("it", b"statement", made)
    with pytest.raises(InvalidInput, match="it is not what key"):
        verifier.check("it", b"statemenT", made)
    with pytest.raises(InvalidInput, match="it is not what key"):
        verifier.check("it", b"statement", Signature(OTHER.key_id, made.value))
    with pytest.raises(InvalidInput, match=f"signed by key `{OTHER.key_id}`, which is not one of"):
        Verifier([SIGNER.public_pem]).check("it", b"s", OTHER.sign(b"s"))
    with pytest.raises(InvalidInput, match="it is not signed"):
        verifier.check("it", b"statement", Signature("", b""))


@pytest.mark.parametrize("pem", [b"", b"nonsense", SIGNER.public_pem])
def test_what_is_no_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidInput, match="no Ed25519 private key"):
        Signer(pem)


def test_a_verifier_needs_a_key() -> None:
    with pytest.raises(InvalidInput, match="there are 0 policy verify keys"):
        Verifier([b"-----BEGIN NOTHING-----"])
    with pytest.raises(InvalidInput, match="no Ed25519 public key"):
        Verifier([b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])


def test_keys_of_openssl_are_taken(tmp_path: Path) -> None:
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    try:
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    signer = Signer(key.read_bytes())
    Verifier([public.read_bytes()]).check("it", b"s", signer.sign(b"s"))
    assert signer.public_pem == public.read_bytes()
