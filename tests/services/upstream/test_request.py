"""URLs and requests: what cannot be sent is refused before anything is, and never repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.services.upstream.request import Request, Target

TARGET = Target.of("http://h:8080/v1/")


def request(
    headers: dict[str, str],
    *,
    method: str = "POST",
    body: bytes = b"{}",
    secret_headers: dict[str, str] | None = None,
) -> Request:
    return Request.of(
        TARGET,
        method=method,
        path="/v1/x",
        headers=headers,
        secret_headers=secret_headers or {},
        body=body,
    )


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://h", Target("h", 443, True, "h", "")),
        ("https://h:443/", Target("h", 443, True, "h", "")),
        ("http://H:81/a/b/", Target("h", 81, False, "h:81", "/a/b")),
        ("http://[::1]:9/", Target("::1", 9, False, "[::1]:9", "")),
        (
            "https://bücher.example",
            Target("xn--bcher-kva.example", 443, True, "xn--bcher-kva.example", ""),
        ),
    ],
)
def test_where_a_provider_is(url: str, target: Target) -> None:
    assert Target.of(url) == target


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "ftp://h", "http://", "http://[", "http://h:99999", "http://h:x"),
        *("http://user:pass@h", "http://h?q=1", "http://h#f", "http://h h/", "file:///etc"),
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Target.of(url)
    assert "pass" not in str(caught.value)


def test_a_request_over_http1() -> None:
    assert request({"x-a": " 1 ", "connection": "upgrade", "host": "other"}).http1() == (
        b"POST /v1/x HTTP/1.1\r\nhost: h:8080\r\nx-a: 1\r\ncontent-length: 2\r\n\r\n"
    )
    assert b"content-length" not in request({}, method="GET", body=b"").http1()


def test_a_request_over_http2_keeps_the_secret_out_of_tables() -> None:
    plain, secret = {"x-a": "1"}, {"authorization": "Bearer s3cret"}
    headers = request({**plain, "te": "trailers"}, secret_headers=secret).http2()
    assert headers[:4] == (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"h:8080"),
        (b":path", b"/v1/x"),
    )
    by_name = {header[0]: type(header).__name__ for header in headers}
    assert by_name[b"authorization"] == "NeverIndexedHeader"
    assert by_name[b"x-a"] == "tuple"
    assert b"te" not in by_name


def test_credentials_replace_a_header_of_their_name() -> None:
    sent = request({"x-a": "document's"}, secret_headers={"x-a": "credential's"})
    assert b"x-a: credential's\r\n" in sent.http1()
    assert b"document" not in sent.http1()
    assert [value for name, value, *_ in sent.http2() if name == b"x-a"] == [b"credential's"]


@pytest.mark.parametrize(
    "headers",
    [{"x a": "1"}, {"": "1"}, {"x-a": "s3cret\r\nb: c"}, {"x-a": "s3cret\0"}, {"x-a": "s3cret€"}],
)
def test_a_header_that_cannot_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a header that cannot be sent") as caught:
        request(headers)
    assert "s3cret" not in str(caught.value)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_header_adds_a_line(name: str, value: str) -> None:
    try:
        head = request({name: value}).http1()
    except ValueError:
        return
    assert head.count(b"\r\n") <= 5
    assert head.endswith(b"\r\n\r\n")
    assert b"\n" not in head.replace(b"\r\n", b"")


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nb", "/ü", "/\0"])
def test_a_path_that_cannot_be_sent(path: str) -> None:
    with pytest.raises(ValueError, match="a path that cannot be sent"):
        Request.of(TARGET, method="GET", path="\n" + path, headers={}, secret_headers={})
