"""Calls to one service of the mesh with one key, errors typed. For tools, not for the hot path."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import grpc

from harmost.client.errors import HarmostError, Unreachable, Unsupported, error_of
from harmost.client.transport import CHANNEL_OPTIONS, Tls, credentials_of, key_metadata

__all__ = ["PAGES_MAX", "Session", "reaching"]

TIMEOUT_S = 30.0
NO_METHOD = "Method not found!"  # gRPC's own words, of every server
PAGES_MAX = 10_000


@contextmanager
def reaching(address: str) -> Generator[None, None, None]:
    """Say of what nobody answers, or another service does, which address it was and what to do."""
    try:
        yield
    except Unreachable as error:
        raise Unreachable(
            f"nothing answers at `{address}`: is `harmost up` running?", code=error.code
        ) from error
    except Unsupported as error:
        if error.message != NO_METHOD:
            raise
        raise Unsupported(
            f"`{address}` is not the service that answers this: correct `--address`, or leave it "
            "out to ask the one that `harmost up` wrote down",
            code=error.code,
        ) from error


class Session:
    """One channel to the service at `address`; `stub` is the generated class of its stub."""

    def __init__(self, address: str, stub: Any, *, key: str, tls_ca: Path | None = None) -> None:
        self.address = address
        self._metadata = key_metadata(key)
        options = list(CHANNEL_OPTIONS)
        self._channel = (
            grpc.insecure_channel(address, options)
            if tls_ca is None
            else grpc.secure_channel(address, credentials_of(Tls(ca=tls_ca)), options)
        )
        self._stub = stub(self._channel)

    def call(self, method: str, request: Any, *, timeout_s: float = TIMEOUT_S) -> Any:
        """The response to `request`; raises a typed `HarmostError` of harmost.client."""
        with reaching(self.address):
            try:
                return getattr(self._stub, method)(
                    request, timeout=timeout_s, metadata=self._metadata
                )
            except grpc.RpcError as error:
                raise error_of(error) from error

    def stream(self, method: str, request: Any) -> Iterator[Any]:
        """The responses as they come, without a deadline; leaving the iterator cancels."""
        call = getattr(self._stub, method)(request, metadata=self._metadata)
        try:
            with reaching(self.address):
                yield from call
        except grpc.RpcError as error:
            failure = error_of(error)
            with reaching(self.address):
                raise failure from error
        finally:
            call.cancel()

    def pages(self, method: str, request: Any, *, limit: int | None = None) -> Iterator[Any]:
        """Every page of a listing that has `page_token`; stops after `limit` pages."""
        for _ in range(PAGES_MAX if limit is None else limit):
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
        if limit is None:
            raise HarmostError(f"`{method}` has more than {PAGES_MAX} pages: narrow the question")

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
