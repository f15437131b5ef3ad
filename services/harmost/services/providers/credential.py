"""How one address is authenticated at: what each request gets, from a grant that is renewed elsewhere.

Nothing here waits: a call reads a value, and signs where the provider wants it signed.
"""

import time
from collections.abc import Callable, Mapping

from harmost.core.errors import InvalidInput
from harmost.core.providers.auth import aws_scope, key_headers
from harmost.core.providers.codec import Codec
from harmost.core.providers.sigv4 import AwsKeys, Signer
from harmost.core.resources.kinds import ProviderSpec

from .grants import Grant, Source

__all__ = ["Credential"]


class Credential:
    """The credentials for one address; made by `of`."""

    __slots__ = ("_clock", "_headers", "_headers_of", "_made", "_signer", "source")

    def __init__(
        self,
        source: Source,
        made: Callable[[str], Mapping[str, str]],
        signer: Signer | None,
        clock: Callable[[], float],
    ) -> None:
        self.source = source
        self._made, self._signer, self._clock = made, signer, clock
        self._headers_of: Grant | None = None
        self._headers: Mapping[str, str] = {}

    @classmethod
    def of(
        cls,
        spec: ProviderSpec,
        codec: Codec,
        source: Source,
        *,
        clock: Callable[[], float] = time.time,
    ) -> "Credential":
        """How `source` travels to `spec.base_url`. InvalidInput where the document says too little."""
        kind = spec.credentials.partition(":")[0]
        auth = spec.auth or {"aws": "aws-sigv4", "google": "bearer", "entra": "bearer"}.get(
            kind, ""
        )
        if auth == "aws-sigv4":
            try:
                scope = aws_scope(spec.auth_scope, spec.base_url)
            except ValueError as error:  # documents are checked for it
                raise InvalidInput(str(error)) from None
            return cls(source, _nothing, Signer(region=scope.region, service=scope.service), clock)
        if auth == "":
            return cls(source, codec.auth_headers, None, clock)
        return cls(source, lambda key: key_headers(auth, key), None, clock)

    @property
    def fault(self) -> str:
        """Why nothing can be sent now; "" where something can."""
        return self.source.fault

    @property
    def grant(self) -> Grant:
        """What is in use now; what it was for a call is for the call to keep."""
        return self.source.grant

    def refused(self, grant: Grant) -> None:
        """The provider did not take `grant`: another is fetched soon."""
        self.source.refused(grant)

    def headers(
        self,
        grant: Grant,
        *,
        method: str,
        authority: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Mapping[str, str]:
        """What a request as it will be sent gets added; every one of them is a secret."""
        if self._signer is not None:
            return self._signer.headers(
                AwsKeys(*grant.secrets),
                method=method,
                authority=authority,
                path=path,
                headers=headers,
                body=body,
                now_s=self._clock(),
            )
        if grant is not self._headers_of:
            self._headers = self._made(grant.secrets[0]) if grant.secrets else {}
            self._headers_of = grant
        return self._headers


def _nothing(_: str) -> Mapping[str, str]:
    return {}
