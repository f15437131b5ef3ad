"""Channel options, TLS and key, the same for the sync and the async client."""

import os
from dataclasses import dataclass
from pathlib import Path

import grpc

from harmost.client.errors import Unauthenticated

__all__ = ["ADDRESS", "CHANNEL_OPTIONS", "Tls", "credentials_of", "key_metadata"]

ADDRESS = "127.0.0.1:50051"
MESSAGE_BYTES_MAX = 32 * 1024 * 1024  # the server's own bound

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_retries", 0),  # what is retried is said in retry.py, and nowhere else
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", 64 * 1024),  # error details travel in trailers
    ("grpc.keepalive_time_ms", 60_000),
    # A client of its own has a connection of its own: streams spread over the server's workers.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. `ca` None: the system's roots. `cert` and `key` only where the server asks."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""  # only where the certificate names another host than the address


def credentials_of(tls: Tls) -> grpc.ChannelCredentials:
    """Channel credentials; raises OSError when a file cannot be read."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca.read_bytes() if tls.ca else None,
        private_key=tls.key.read_bytes() if tls.key else None,
        certificate_chain=tls.cert.read_bytes() if tls.cert else None,
    )


def key_metadata(key: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that carries `key`, or HARMOST_KEY where it is None."""
    key = (os.environ.get("HARMOST_KEY", "") if key is None else key).strip()
    if not key:
        raise Unauthenticated("no key: pass `key=` or set HARMOST_KEY")
    if not key.isascii() or any(character.isspace() for character in key):
        raise Unauthenticated("the key holds characters that no key has: copy it again")
    return (("authorization", f"Bearer {key}"),)
