"""How a service may be told to run, and how not."""

from pathlib import Path
from typing import Any

import pytest

from harmost.core.errors import InvalidInput
from harmost.services.addresses import is_loopback, split_address
from harmost.services.settings import Settings


def made(**said: Any) -> Settings:
    return Settings(**{"listen": "127.0.0.1:0", "data_dir": Path("x"), **said})


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_other_machines_need_tls_or_a_plain_word(listen: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--insecure-listen"):
        made(listen=listen)
    made(listen=listen, allow_insecure=True)
    pem = tmp_path / "x.pem"
    pem.touch()
    made(listen=listen, tls_cert=pem, tls_key=pem)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1"])
def test_loopback_needs_nothing(listen: str) -> None:
    assert is_loopback(listen)
    made(listen=listen)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"transport": "pigeon"}, "`pigeon` is not known: use wire or grpcio"),
        ({"tls_cert": Path("/x")}, "both `--tls-cert` and `--tls-key`"),
        ({"tls_client_ca": Path("/x")}, "means nothing without `--tls-cert`"),
        ({"tls_cert": Path("/nope"), "tls_key": Path("/nope")}, "no file at `/nope`"),
        ({"grace_s": -1.0}, "grace must be from 0"),
        ({"grace_s": float("nan")}, "grace must be from 0"),
    ],
)
def test_what_contradicts_itself_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        made(**said)


@pytest.mark.parametrize("address", ["", "x", ":1", "x:", "x:y", "x:65536", "::1:5", "x:-1", "x:٣"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="is no address"):
        split_address(address)


def test_addresses_are_split() -> None:
    assert split_address("[::1]:5") == ("::1", 5)
    assert split_address("router.example:443") == ("router.example", 443)


def test_metrics_for_other_machines_need_a_word(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--insecure-listen"):
        Settings(listen="127.0.0.1:1", data_dir=tmp_path, metrics_listen="0.0.0.0:9464")
    Settings(listen="127.0.0.1:1", data_dir=tmp_path, metrics_listen="[::1]:9464")
