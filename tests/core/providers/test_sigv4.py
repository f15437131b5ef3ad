"""Every signature is the one that botocore makes."""

import datetime
from collections.abc import Mapping
from unittest.mock import patch

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from effort import effort
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmost.core.providers.sigv4 import AwsKeys, Signer

KEYS = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NOW_S = 1_795_600_000.0

segment = st.text(st.sampled_from("abZ019-._~:%@!$&'()*+,;= é/"), max_size=12).map(
    lambda text: text.replace(" ", "%20").replace("é", "%C3%A9")
)
paths = st.lists(segment, max_size=5).map(lambda each: "/" + "/".join(each))
queries = st.lists(
    st.tuples(st.text("abAB%2F-~1", max_size=5), st.text("xyZ0%3A._", max_size=5)), max_size=4
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def twin(
    keys: AwsKeys,
    *,
    method: str,
    authority: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    region: str = "eu-west-1",
) -> dict[str, str]:
    """What botocore adds to the same request."""
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC).replace(tzinfo=None)
    request = AWSRequest(method, f"https://{authority}{path}", headers=dict(headers), data=body)
    given = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None)
    with patch.object(botocore.auth, "get_current_datetime", lambda: now):
        botocore.auth.SigV4Auth(given, "bedrock", region).add_auth(request)
    added = {name.lower(): value for name, value in request.headers.items()}
    return {name: value for name, value in added.items() if name not in headers}


def ours(keys: AwsKeys, **request: object) -> dict[str, str]:
    return Signer(region="eu-west-1", service="bedrock").headers(keys, **request)  # type: ignore[arg-type]


@settings(max_examples=effort(150, ci=2_000, nightly=50_000))
@given(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["h", "h:8080", "bedrock-runtime.eu-west-1.amazonaws.com", "[::1]:9"]),
    paths,
    queries,
    st.dictionaries(st.sampled_from(["content-type", "x-amz-a", "x-amz-b-c"]), values),
    st.binary(max_size=200),
    st.sampled_from(["", "token/with+odd=="]),
    st.integers(0, 4_000_000_000),
)
@example("POST", "h", "/model/anthropic.claude%3A0/converse", "", {}, b"{}", "", 1_795_600_000)
@example("POST", "h", "/model/arn%3Aaws%3Abedrock%3A%2Fx/converse", "", {}, b"", "t", 1_795_600_000)
@example("GET", "h", "/a//b/./c/../d/", "b=2&a=1&a=0&c", {"x-amz-a": "  a   b "}, b"", "", 0)
def test_a_signature_is_botocores(
    method: str,
    authority: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    token: str,
    now_s: int,
) -> None:
    request = {
        "method": method,
        "authority": authority,
        "path": f"{path}?{query}" if query else path,
        "headers": headers,
        "body": body,
        "now_s": float(now_s),
    }
    keys = KEYS._replace(session_token=token)
    assert ours(keys, **request) == twin(keys, **request)  # type: ignore[arg-type]


def sign(signer: Signer, keys: AwsKeys = KEYS, *, now_s: float = NOW_S, body: bytes = b"") -> str:
    return signer.headers(
        keys, method="POST", authority="h", path="/", headers={}, body=body, now_s=now_s
    )["authorization"]


def test_a_signer_follows_the_day_and_the_keys() -> None:
    signer = Signer(region="eu-west-1", service="bedrock")
    other = KEYS._replace(secret_access_key="other")
    turns = [(KEYS, NOW_S), (KEYS, NOW_S + 86_400), (other, NOW_S + 86_400), (KEYS, NOW_S)]
    for keys, now_s in turns:
        fresh = Signer(region="eu-west-1", service="bedrock")
        assert sign(signer, keys, now_s=now_s) == sign(fresh, keys, now_s=now_s)


def test_headers_that_a_proxy_may_change_are_not_signed() -> None:
    signed = ours(
        KEYS,
        method="POST",
        authority="h",
        path="/",
        headers={"user-agent": "x", "accept": "y", "x-request-id": "z"},
        body=b"",
        now_s=NOW_S,
    )
    assert "SignedHeaders=host;x-amz-date," in signed["authorization"]


def test_the_secret_is_in_no_header() -> None:
    keys = KEYS._replace(session_token="tok")
    assert KEYS.secret_access_key not in str(
        ours(keys, method="GET", authority="h", path="/", headers={}, body=b"", now_s=NOW_S)
    )
