"""Where a signature is good, and which header a key travels in."""

import pytest

from harmost.core.providers.auth import AwsScope, aws_scope, key_headers


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", AwsScope("us-east-1", "bedrock")),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", AwsScope("us-gov-west-1", "bedrock")),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", AwsScope("cn-north-1", "bedrock")),
        ("bedrock-mantle.eu-west-3.api.aws", AwsScope("eu-west-3", "bedrock")),
        (
            "vpce-0a1-b2.bedrock-runtime.eu-central-1.vpce.amazonaws.com",
            AwsScope("eu-central-1", "bedrock"),
        ),
        ("sts.eu-west-1.amazonaws.com", AwsScope("eu-west-1", "sts")),
    ],
)
def test_an_address_of_aws_names_what_is_signed_for(host: str, scope: AwsScope) -> None:
    assert aws_scope("", f"https://{host}/x") == scope
    assert aws_scope("ap-south-1/other", f"https://{host}") == AwsScope("ap-south-1", "other")


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example"),
        *("http://[", "https://amazonaws.com", ""),
    ],
)
def test_any_other_address_needs_to_be_told(url: str) -> None:
    with pytest.raises(ValueError, match="no region to sign for"):
        aws_scope("", url)
    assert aws_scope("us-east-1", url) == AwsScope("us-east-1", "bedrock")


def test_a_key_travels_as_it_is_told() -> None:
    assert key_headers("bearer", "k") == {"authorization": "Bearer k"}
    for name in ("api-key", "x-api-key", "x-goog-api-key"):
        assert key_headers(name, "k") == {name: "k"}
    assert key_headers("bearer", "") == {}
