"""The clouds' own libraries get tokens from servers that check what they are shown; failures say no secret."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from token_server import (
    CLIENT_SECRET,
    PRIVATE_KEY,
    ROLE,
    SUBJECT_TOKEN,
    TokenServer,
    serving_tokens,
)

from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint
from harmost.services.providers.grants import Source
from harmost.services.providers.sources import source

SetUp = Callable[[TokenServer, Path, pytest.MonkeyPatch], str]


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    """A token server, and an environment in which nothing else is found."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with serving_tokens() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        monkeypatch.setenv("GCE_METADATA_HOST", server.url.removeprefix("http://"))
        yield server


def fetched(reference: str, scope: str = "") -> Source:
    found = source(reference, scope=scope)
    found.fetch()
    return found


def lasts_s(found: Source) -> float:
    return found.grant.expires_s - time.time()


# --- AWS -----------------------------------------------------------------------------------------


def web_identity(tokens: TokenServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "jwt").write_text(SUBJECT_TOKEN)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "jwt"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    return "aws:web-identity"


def profile(tokens: TokenServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = "[prod]\naws_access_key_id = AKIDP\naws_secret_access_key = profile-secret\n"
    (folder / "credentials").write_text(text)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    return "aws:profile/prod"


def test_keys_of_aws_from_variables(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "variable-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "variable-token")
    found = fetched("aws:")
    assert found.grant == (("AKIDV", "variable-secret", "variable-token"), float("inf"))
    assert tokens.asked == []


def test_keys_of_aws_from_a_profile(
    tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDV")  # a profile that is named comes first
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "variable-secret")
    reference = profile(tokens, tmp_path, monkeypatch)
    assert fetched(reference).grant.secrets == ("AKIDP", "profile-secret", "")
    missing = fetched("aws:profile/none")
    assert missing.fault.startswith("no credentials from `aws:profile/none`: ProfileNotFound: set")


@pytest.mark.parametrize("reference", ["aws:web-identity", "aws:"])
def test_keys_of_aws_for_the_token_of_a_workload(
    tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    web_identity(tokens, tmp_path, monkeypatch)
    found = fetched(reference)
    assert found.grant.secrets == ("AKID", "sts-secret", f"token-1-{'x' * 20}")
    assert lasts_s(found) == pytest.approx(3600, abs=60)
    found.fetch()
    assert found.grant.secrets[2].startswith("token-2-")


def test_a_machine_is_asked_for_its_role_only_by_its_name(tokens: TokenServer) -> None:
    found = fetched("aws:")
    assert found.fault.startswith("no credentials from `aws:`: none are set up: set what the AWS")
    assert tokens.asked == []
    found = fetched("aws:instance")
    assert found.grant.secrets == ("AKIDI", "imds-secret", f"token-1-{'x' * 20}")


# --- Google --------------------------------------------------------------------------------------


def service_account(tokens: TokenServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return service_account_with(tokens, folder, PRIVATE_KEY)


def service_account_with(tokens: TokenServer, folder: Path, key: str) -> str:
    file = {
        "type": "service_account",
        "client_email": "caller@project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": key,
        "token_uri": f"{tokens.url}/google/token",
    }
    (folder / "account.json").write_text(json.dumps(file))
    return f"google:{folder}/account.json"


def external_account(tokens: TokenServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "jwt").write_text(SUBJECT_TOKEN)
    file = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens.url}/google/sts",
        "credential_source": {"file": str(folder / "jwt")},
    }
    (folder / "external.json").write_text(json.dumps(file))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "external.json"))
    return "google:"


@pytest.mark.parametrize("set_up", [service_account, external_account])
def test_tokens_of_google(
    tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_up: SetUp
) -> None:
    reference = set_up(tokens, tmp_path, monkeypatch)
    found = fetched(reference)
    assert found.fault == ""
    assert found.grant.secrets == (f"token-1-{'x' * 20}",)
    assert lasts_s(found) == pytest.approx(3600, abs=60)
    fetched(reference, "https://example.test/scope")
    assert tokens.scopes == [
        "https://www.googleapis.com/auth/cloud-platform",
        "https://example.test/scope",
    ]


def test_tokens_of_a_machine_at_google(tokens: TokenServer) -> None:
    assert fetched("google:instance").grant.secrets == (f"token-1-{'x' * 20}",)


def test_google_without_a_file(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    assert fetched("google:").fault == (
        "no credentials from `google:`: set `GOOGLE_APPLICATION_CREDENTIALS`"
    )
    assert tokens.asked == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"type": "service_account"}', '{"type": 3}', "\0"]
)
def test_a_file_that_is_none_of_googles(tokens: TokenServer, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert "give it a credentials file of Google" in fetched(f"google:{tmp_path}/x.json").fault
    assert "give it a credentials file" in fetched("google:/no/such").fault


def test_a_broken_key_of_google_is_not_told(tokens: TokenServer, tmp_path: Path) -> None:
    found = fetched(service_account_with(tokens, tmp_path, PRIVATE_KEY[:200]))
    assert "no credentials from" in found.fault
    assert PRIVATE_KEY[40:60] not in found.fault


# --- Entra ID ------------------------------------------------------------------------------------


@pytest.fixture
def entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    """Entra ID over TLS, as its library insists, of an application without a secret yet."""
    with serving_tokens(tls_folder=tmp_path) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "127.0.0.1.pem"))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", server.url)
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        yield server


def test_tokens_of_entra_for_a_secret_and_for_a_workload(
    entra: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "CredentialUnavailableError: set what Azure's tools read" in fetched("entra:").fault
    (tmp_path / "jwt").write_text(SUBJECT_TOKEN)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "jwt"))
    assert fetched("entra:").grant.secrets == (f"token-1-{'x' * 20}",)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    found = fetched("entra:", "https://ai.azure.com/.default")
    assert found.grant.secrets == (f"token-2-{'x' * 20}",)
    assert lasts_s(found) == pytest.approx(3600, abs=60)
    assert [scope.split()[0] for scope in entra.scopes] == [
        "https://cognitiveservices.azure.com/.default",
        "https://ai.azure.com/.default",
    ]
    found.fetch()
    assert found.grant.secrets == (f"token-3-{'x' * 20}",)
    entra.broken = "invalid_client"
    refused = fetched("entra:")
    assert "ClientAuthenticationError `AADSTS7000215`" in refused.fault
    assert CLIENT_SECRET not in refused.fault


# --- All of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("set_up", "code", "told"),
    [
        (web_identity, "ExpiredTokenException", "`aws:web-identity`: ExpiredTokenException: set"),
        (service_account, "invalid_grant", "RefreshError `invalid_grant`"),
        (external_account, "invalid_target", "OAuthError"),
    ],
)
def test_a_server_that_repeats_what_it_was_shown_is_not_quoted(
    tokens: TokenServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_up: SetUp,
    caplog: pytest.LogCaptureFixture,
    code: str,
    told: str,
) -> None:
    caplog.set_level("DEBUG")
    reference = set_up(tokens, tmp_path, monkeypatch)
    tokens.broken = code
    found = fetched(reference)
    assert told in found.fault
    assert SUBJECT_TOKEN not in found.fault
    assert "eyJ" not in found.fault  # how a signed assertion begins
    assert "eyJ" not in caplog.text  # botocore would log it as a warning
    tokens.broken = ""
    found.fetch()
    assert found.fault == ""


@pytest.mark.parametrize(
    ("reference", "extra", "modules"),
    [
        ("aws:", "aws", ["botocore.config"]),
        ("google:", "google", ["google.auth.exceptions"]),
        ("entra:", "entra", ["azure.core.exceptions"]),
        ("entra:", "entra", ["azure.identity"]),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, reference: str, extra: str, modules: list[str]
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    spec = ProviderSpec(
        codec="openai",
        base_url="http://h",
        credentials=reference,
        auth_scope="eu-west-1" if extra == "aws" else "",
    )
    assert Endpoint.of("p", spec).fault == (
        f"no credentials from `{reference}`: the package is missing: install `harmost[{extra}]`"
    )
