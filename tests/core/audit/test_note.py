"""Notes, checkpoints and receipts hold only as they were signed."""

import base64

import pytest
from small_log import ORIGIN, signer, verifiers

from harmost.core.audit.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_head
from harmost.core.audit.merkle import EMPTY_ROOT, ProofRefused, leaf_hash, node_hash
from harmost.core.audit.note import (
    Note,
    NoteRefused,
    NoteVerifier,
    WitnessSigner,
    check_note,
    parse_note,
    read_signers,
    read_verifiers,
)
from harmost.core.audit.receipt import Receipt, encode_receipt, parse_receipt, verify_receipt
from harmost.core.errors import InvalidInput
from harmost.core.resources.signing import new_signing_key

# From note_test.go of golang.org/x/mod and the signed-note specification.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
LEAVES = [leaf_hash(b"a"), leaf_hash(b"b")]
HEAD = Checkpoint(ORIGIN, 2, node_hash(*LEAVES))


def head_note() -> bytes:
    return sign_head(HEAD, [signer()]).data


def receipt() -> bytes:
    return encode_receipt(Receipt(b"b", 1, (LEAVES[0],), head_note()))


@pytest.mark.parametrize(("key", "note"), [(GO_KEY, GO_NOTE), (SPEC_KEY, SPEC_NOTE)])
def test_notes_of_others_are_verified(key: str, note: str) -> None:
    parsed = parse_note(note.encode())
    assert parsed.data == note.encode()
    (vouched,) = check_note(parsed, [NoteVerifier(key)])
    assert vouched.name == key.partition("+")[0]


def test_a_key_is_the_text_that_others_write() -> None:
    made = signer()
    assert NoteVerifier(made.vkey).key_id == made.key_id
    assert made.vkey.startswith(f"{ORIGIN}+{made.key_id.hex()}+A")


@pytest.mark.parametrize("which", ["checkpoint", "receipt"])
def test_flipping_any_bit_of_any_byte_is_seen(which: str) -> None:
    data = head_note() if which == "checkpoint" else receipt()
    for place in range(len(data)):
        for bit in range(8):
            harmed = bytearray(data)
            harmed[place] ^= 1 << bit
            with pytest.raises((NoteRefused, ProofRefused)):
                if which == "checkpoint":
                    open_checkpoint(bytes(harmed), verifiers())
                else:
                    verify_receipt(bytes(harmed), verifiers())


@pytest.mark.parametrize("which", ["checkpoint", "receipt"])
def test_taking_away_or_adding_a_byte_is_seen(which: str) -> None:
    data = head_note() if which == "checkpoint" else receipt()
    check = open_checkpoint if which == "checkpoint" else verify_receipt
    for place in range(len(data)):
        for harmed in (data[:place] + data[place + 1 :], data[:place] + b"0" + data[place:]):
            with pytest.raises((NoteRefused, ProofRefused)):
                check(harmed, verifiers())
    for end in range(len(data)):
        with pytest.raises((NoteRefused, ProofRefused)):
            check(data[:end], verifiers())


def test_a_receipt_shows_its_entry() -> None:
    verified = verify_receipt(receipt(), verifiers())
    assert (verified.entry, verified.leaf_index, verified.head) == (b"b", 1, HEAD)
    assert encode_receipt(parse_receipt(receipt())) == receipt()


def test_a_receipt_of_another_entry_or_place_does_not_hold() -> None:
    parsed = parse_receipt(receipt())
    for wrong in (parsed._replace(entry=b"c"), parsed._replace(leaf_index=0)):
        with pytest.raises(ProofRefused):
            verify_receipt(encode_receipt(wrong), verifiers())


def test_nobody_known_signed_says_who_did() -> None:
    with pytest.raises(NoteRefused, match=f"none of the keys given signed it, but `{ORIGIN}`"):
        open_checkpoint(head_note(), verifiers(2))


def test_a_log_vouches_only_for_the_log_of_its_name() -> None:
    other = Checkpoint("example.com/other", 2, HEAD.root)
    forged = sign_head(other, [signer()]).data
    with pytest.raises(NoteRefused, match="none of the keys given"):
        open_checkpoint(forged, verifiers())


def test_during_a_rotation_either_key_verifies() -> None:
    note = sign_head(HEAD, [signer(2), signer(1)]).data
    for keys in ((1,), (2,), (1, 2)):
        head, vouched = open_checkpoint(note, verifiers(*keys))
        assert (head, len(vouched)) == (HEAD, len(keys))


def test_one_false_signature_of_a_known_key_spoils_the_note() -> None:
    good = sign_head(HEAD, [signer(1), signer(2)])
    false = good.signatures[1]._replace(value=bytes(64))
    note = good._replace(signatures=(good.signatures[0], false))
    assert open_checkpoint(note.data, verifiers(1))[0] == HEAD  # of an unknown key nothing is said
    with pytest.raises(NoteRefused, match="is not of this text"):
        open_checkpoint(note.data, verifiers(1, 2))


def test_a_witness_says_when_and_never_vouches_alone() -> None:
    witness = WitnessSigner("witness.example", signer(7)._key)
    signed = witness.cosign(HEAD.text, time_s=1_800_000_000)
    key = NoteVerifier(witness.vkey)
    note = sign_head(HEAD, [signer()])
    both = note._replace(signatures=(*note.signatures, signed))
    _, vouched = open_checkpoint(both.data, [*verifiers(), key])
    assert [(each.name, each.time_s) for each in vouched] == [
        (ORIGIN, 0),
        ("witness.example", 1_800_000_000),
    ]
    with pytest.raises(NoteRefused, match="none of the keys given"):
        open_checkpoint(Note(HEAD.text, (signed,)).data, [*verifiers(), key])
    later = signed._replace(value=(1_800_000_001).to_bytes(8, "big") + signed.value[8:])
    with pytest.raises(NoteRefused, match="is not of this text"):
        open_checkpoint(note._replace(signatures=(later, *note.signatures)).data, [key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/audit\n",
        "example.com/audit\n2\n",
        "example.com/audit\n02\n" + base64.b64encode(HEAD.root).decode() + "\n",
        "example.com/audit\n-2\n" + base64.b64encode(HEAD.root).decode() + "\n",
        "example.com/audit\n99999999999999999999\n" + base64.b64encode(HEAD.root).decode() + "\n",
        "example.com/audit\n2\nAAAA\n",
        "\n2\n" + base64.b64encode(HEAD.root).decode() + "\n",
        HEAD.text + "an extension\n",
        f"{ORIGIN}\n0\n" + base64.b64encode(HEAD.root).decode() + "\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        parse_checkpoint(text)


def test_an_empty_log_has_a_head() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert parse_checkpoint(empty.text) == empty


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno dash\n",
        "text\n\n— name AAAA\n".encode(),
        "te\x01xt\n\n— name AAAAAAAA\n".encode(),
        b"\xff\n\n",
        "text\n\n— na+me AAAAAAAAAAAA\n".encode(),
        ("text\n\n" + "— name AAAAAAAAAAAA\n" * 65).encode(),
        b"x" * 70_000 + "\n\n— name AAAAAAAAAAAA\n".encode(),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteRefused):
        parse_note(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/audit",
        GO_KEY[:-4],
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        "PeterNeumann+c74f20a3+AhpcQ",
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no public key"):
        NoteVerifier(text)


def test_files_of_keys_say_what_is_wrong_with_them() -> None:
    assert [key.name for key in read_verifiers(f"# old\n\n{GO_KEY}\n{SPEC_KEY}\n")] == [
        "PeterNeumann",
        "example.com/foo",
    ]
    with pytest.raises(InvalidInput, match="there are 0 public keys"):
        read_verifiers("# none\n")
    key = new_signing_key()
    assert [made.name for made in read_signers(ORIGIN, key + key)] == [ORIGIN, ORIGIN]
    with pytest.raises(InvalidInput, match="there are 0 audit signing keys"):
        read_signers(ORIGIN, b"nothing")
    with pytest.raises(InvalidInput, match="is no Ed25519 private key"):
        read_signers(ORIGIN, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
    with pytest.raises(InvalidInput, match="cannot name a log"):
        read_signers("two words", key)
