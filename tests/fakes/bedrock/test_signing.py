"""Requests that our signer signs are believed by the fake, which computes signatures with botocore."""

import os
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from fakes.ask import HELLO, Told, ask
from fakes.bedrock import MODEL, BedrockFake, spec
from fakes.serve import serving
from harmost.core.chat import Message, Text

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI+bPxRfiCYEXAMPLEKEY",
}
ARN = (
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-7-v1:0"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The keys, and none of the machine's own: AWS's chain reads the process's environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return monkeypatch


async def signed(
    fake: BedrockFake, messages: Any = HELLO, *, model: str = MODEL, **changes: Any
) -> Told:
    said = {"credentials": "aws:", "auth_scope": "eu-central-1", **changes}
    async with serving(fake) as url:
        return await ask(spec(url, **said), messages, model=model)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("model", [MODEL, ARN, "a b~c%d"])
async def test_a_signature_holds_for_any_model_over_both_versions(model: str, http2: bool) -> None:
    fake = BedrockFake()
    got = await signed(fake, (Message.of("user", "Grüezi \N{ROCKET}"),), model=model, http2=http2)
    if model == "a b~c%d":  # the signature is believed; the name is none
        assert got.error is not None
        assert got.error.kind == "rejected"
        assert "modelId" in got.error.message
    else:
        assert got.error is None
        assert got.parts == (Text(fake.answer.text),)
    assert (
        fake.seen[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    )


async def test_headers_of_the_document_and_a_session_token_are_signed_too(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AWS_SESSION_TOKEN", "token")
    fake = BedrockFake(
        credentials=Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], "token")
    )
    got = await signed(
        fake,
        headers={"X-Amzn-Bedrock-Trace": "a   b", "x-team": "c"},
    )
    assert got.error is None
    assert fake.seen[0].headers["x-amz-security-token"] == "token"


@pytest.mark.parametrize(
    ("wrong", "auth_scope"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "eu-central-1"),
        ({"AWS_ACCESS_KEY_ID": "AKIDOTHER"}, "eu-central-1"),
        ({}, "us-east-1"),
        ({}, "eu-central-1/sagemaker"),
    ],
)
async def test_wrong_keys_and_scopes_are_told_as_ours(
    environment: pytest.MonkeyPatch, wrong: dict[str, str], auth_scope: str
) -> None:
    for name, value in wrong.items():
        environment.setenv(name, value)
    got = await signed(BedrockFake(), auth_scope=auth_scope)
    assert got.error is not None
    assert (got.error.kind, got.error.http_status) == ("auth", 403)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in got.error.message
