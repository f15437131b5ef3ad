"""The pure parts: metadata, status text, compression, limits, addresses."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.services.wire import Limits, compression, metadata, peer, status


@given(st.text())
def test_percent_encoding_round_trips_and_ends_no_line(text: str) -> None:
    encoded = status.percent_encode(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert status.percent_decode(encoded) == text.encode("utf-8", "replace").decode()


@given(st.binary())
def test_broken_escapes_decode_to_something(raw: bytes) -> None:
    assert isinstance(status.percent_decode(raw), str)


@given(st.lists(st.binary(max_size=40)))
def test_binary_metadata_round_trips(values: list[bytes]) -> None:
    headers = metadata.encode_metadata([("x-a-bin", value) for value in values])
    assert [entry.value for entry in metadata.decode_metadata(headers)] == values


@given(st.binary(max_size=5000))
def test_gzip_round_trips_within_its_bound(message: bytes) -> None:
    packed = compression.compress(message)
    assert compression.decompress(packed, bytes_max=len(message)) == message
    if message:
        with pytest.raises(compression.MessageTooLarge):
            compression.decompress(packed, bytes_max=len(message) - 1)


@pytest.mark.parametrize("packed", [b"", b"no gzip", compression.compress(b"x" * 100)[:-3]])
def test_what_is_no_gzip_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not gzip"):
        compression.decompress(packed, bytes_max=1000)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("X-Upper", "a"),
        ("grpc-status", "0"),
        (":path", "/"),
        ("", "a"),
        ("x y", "a"),
        ("x-line", "a\r\nx-more: b"),
        ("x-text", "ü"),
    ],
)
def test_metadata_that_would_break_out_is_refused(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        metadata.encode_metadata([(key, value)])


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (b"1S", 1.0),
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"250m", 0.25),
        (b"99999999u", 99.999999),
        (b"0n", 0.0),
        (b"123456789S", None),
        (b"S", None),
        (b"-1S", None),
        (b"1s", None),
    ],
)
def test_timeouts(field: bytes, seconds: float | None) -> None:
    assert metadata.timeout_s(field) == pytest.approx(seconds)


def test_codes_of_grpc_are_the_numbers_here() -> None:
    for name in ("OK", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"):
        assert getattr(status, name) == status.code_of(grpc.StatusCode[name])
    for name in ("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"):
        assert getattr(status, name) == status.code_of(grpc.StatusCode[name])
    assert status.code_of("nonsense") == status.UNKNOWN


def test_channel_options_change_limits() -> None:
    limits = Limits().with_options(
        [
            ("grpc.max_concurrent_streams", 7),
            ("grpc.keepalive_time_ms", 1500),
            ("grpc.max_connection_idle_ms", 2**31 - 1),
            ("grpc.max_send_message_length", -1),
        ]
    )
    assert (limits.streams_max, limits.keepalive_s, limits.idle_s) == (7, 1.5, None)
    assert limits.send_message_bytes_max == 2**31 - 1


def test_options_that_are_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match="no option"):
        Limits().with_options([("grpc.lb_policy_name", 1)])
    with pytest.raises(TypeError, match="integer"):
        Limits().with_options([("grpc.max_concurrent_streams", "7")])


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 80), "ipv4:127.0.0.1:80"),
        (("::1", 80, 0, 0), "ipv6:%5B::1%5D:80"),
        ("", "unix:"),
        ("/run/harmost", "unix:/run/harmost"),
    ],
)
def test_peers_are_named_as_grpc_names_them(address: object, name: str) -> None:
    assert peer.peer_of(address) == name
