"""TLS towards providers: certificates are checked, ALPN says which HTTP. Opens no socket."""

import asyncio
import ssl
from pathlib import Path

__all__ = ["TlsContexts"]

_OFFERS: dict[bool | str, tuple[str, ...]] = {
    True: ("h2",),
    False: ("http/1.1",),
    "auto": ("h2", "http/1.1"),
}


class TlsContexts:
    """One context per offer of protocols, built when first wanted, in a thread: reading the
    system's roots takes 100 ms and more."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    async def offering(self, http2: bool | str) -> ssl.SSLContext:
        """The context for `ProviderSpec.http2`. Raises OSError for roots that cannot be read."""
        protocols = _OFFERS[http2]
        context = self._contexts.get(protocols)
        if context is None:
            built = await asyncio.to_thread(_context, self._ca_file, protocols)
            context = self._contexts.setdefault(protocols, built)
        return context


def _context(ca_file: Path | None, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    return context
