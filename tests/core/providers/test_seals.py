"""Seals are told apart by whose they are."""

import pytest

from harmost.core.chat import Generation, Message, Reasoning, Text
from harmost.core.providers.codec import Codec, UpstreamRequest
from harmost.core.providers.registry import codec
from harmost.core.providers.seals import GOOGLE, is_base64, of_google


def test_only_googles_seals_are_googles() -> None:
    assert of_google(GOOGLE + b"QQ==") == "QQ=="
    assert [of_google(seal) for seal in (b"", b"QQ==", GOOGLE, GOOGLE + b"\xff")] == [""] * 4
    assert is_base64(b"QQ==")
    assert not any(map(is_base64, (b"", GOOGLE + b"QQ==", b"\xff")))


@pytest.mark.parametrize("name", ["anthropic", "bedrock", "gemini"])
@pytest.mark.parametrize("seal", [b"\xff", GOOGLE + b"\xff", b"theirs:QQ==", b""])
def test_a_seal_that_can_be_nobodys_is_left_out_and_told(name: str, seal: bytes) -> None:
    assert drops_and_body(codec(name), seal) == (("reasoning",), False)


@pytest.mark.parametrize(
    ("name", "seal", "taken"),
    [
        ("anthropic", b"QQ==", True),
        ("bedrock", b"QQ==", True),
        ("gemini", b"QQ==", False),
        ("anthropic", GOOGLE + b"QQ==", False),
        ("bedrock", GOOGLE + b"QQ==", False),
        ("gemini", GOOGLE + b"QQ==", True),
    ],
)
def test_a_seal_goes_back_to_whoever_made_it(name: str, seal: bytes, taken: bool) -> None:
    drops, sent = drops_and_body(codec(name), seal)
    assert (drops == (), sent) == (taken, taken)


def drops_and_body(format_: Codec, seal: bytes) -> tuple[tuple[str, ...], bool]:
    """What is told to be left out, and whether the request holds the seal."""
    said = Message("assistant", (Reasoning("hm", seal), Text("so")))
    messages = (Message.of("user", "hi"), said)
    request = UpstreamRequest(vendor_model_id="m", messages=messages, output_tokens_max=9)
    body = format_.request(request).body
    return format_.fit(messages, Generation()).drops, b"QQ==" in body
