"""Secrets are read from where a document says, and never told."""

from pathlib import Path

import pytest

from harmost.core.errors import NotFound, NotPossibleNow
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.credentials import SECRET_BYTES_MAX, secret
from harmost.services.providers.endpoints import Endpoints


def test_no_reference_is_no_secret() -> None:
    assert secret("") == ""


def test_a_secret_from_the_environment() -> None:
    assert secret("env:KEY", environment={"KEY": " k \n"}) == "k"


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    assert secret(f"file:{tmp_path}/key") == "k"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:ZORK", "no credentials in `env:ZORK`: set the environment variable"),
        ("env:EMPTY", "`env:EMPTY` are empty or not printable ascii"),
        ("env:LINES", "`env:LINES` are empty or not printable ascii"),
        ("env:UMLAUT", "`env:UMLAUT` are empty or not printable ascii"),
        ("file:/no/such", "`file:/no/such`: No such file or directory: make it readable"),
        ("file:/", "`file:/`: Is a directory"),
        ("sk-very-secret", "credentials are no reference: write `env:NAME` or `file:PATH`"),
    ],
)
def test_a_missing_secret_says_where_and_not_what(reference: str, message: str) -> None:
    environment = {"EMPTY": "", "LINES": "very\nsecret", "UMLAUT": "sécret"}
    with pytest.raises(NotPossibleNow) as caught:
        secret(reference, environment=environment)
    assert message in caught.value.message
    assert "secret" not in caught.value.message


def test_a_file_that_is_no_key_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(NotPossibleNow, match="larger than 65536 bytes"):
        secret(f"file:{tmp_path}/key")


async def test_endpoints_are_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one")
    spec = ProviderSpec(codec="openai", base_url="http://x", credentials=f"file:{tmp_path}/key")
    endpoints = Endpoints()
    with pytest.raises(NotFound, match="no provider is called `a`"):
        endpoints.get("a")
    await endpoints.replace({"a": spec, "b": ProviderSpec(codec="anthropic", base_url="http://y")})
    assert endpoints.get("a").credential.grant.secrets == ("one",)
    assert endpoints.get("b").credential.grant.secrets == ("",)
    (tmp_path / "key").write_text("two")
    await endpoints.replace({"a": spec})
    assert endpoints.get("a").credential.grant.secrets == ("two",)
    with pytest.raises(NotFound):
        endpoints.get("b")


async def test_one_provider_without_its_secret_does_not_stop_the_others() -> None:
    endpoints = Endpoints()
    await endpoints.replace(
        {
            "a": ProviderSpec(codec="openai", base_url="http://x", credentials="env:NO_SUCH_ZORK"),
            "b": ProviderSpec(codec="openai", base_url="http://x"),
        }
    )
    assert "set the environment variable" in endpoints.get("a").fault
    assert endpoints.get("b").fault == ""
