"""TLS for the server: files to a context, and a new context when the files change. Opens no socket."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TlsContext", "TlsFiles"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. Without `client_ca` callers need no certificate; with it they must have one,
    unless `client_certificate_optional`."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_certificate_optional: bool = False

    def paths(self) -> tuple[Path, ...]:
        """All files that are set."""
        return tuple(p for p in (self.certificate, self.key, self.client_ca) if p is not None)


class TlsContext:
    """The context that handshakes use, replaced as a whole when the files have changed.

    The listening socket keeps `entry` for ever; its server-name callback, which OpenSSL calls in
    every handshake, sends the handshake on to the newest context.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = self._read_stamp()
        self.entry = self._newest = _context(files)
        self.entry.sni_callback = self._choose

    def reload_if_changed(self) -> bool:
        """Read the files again if their times or sizes changed; True when they are in use now.

        Files that do not fit together, as half-way through a renewal, leave the old ones in use.
        """
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return False
            self._newest = _context(self._files)
        except (OSError, ssl.SSLError) as error:
            _log.warning("certificate not reloaded: %s", error)
            return False
        self._stamp = stamp
        return True

    def _choose(self, connection: Any, _name: str | None, _entry: ssl.SSLContext) -> None:
        if connection.context is not self._newest:
            connection.context = self._newest

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in self._files.paths()]
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in stats)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later with forward secrecy, ALPN h2 only (RFC 9113, section 9.2)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        optional = files.client_certificate_optional
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context
