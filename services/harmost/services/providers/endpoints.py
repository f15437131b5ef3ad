"""Joins `Provider` documents with their codecs and their secrets, once per snapshot."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from harmost.core.errors import NotFound, NotPossibleNow
from harmost.core.providers.codec import Codec
from harmost.core.providers.registry import codec
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.credentials import secret

__all__ = ["Endpoint", "Endpoints"]


@dataclass(frozen=True)
class Endpoint:
    """A provider that can be called, made by `of`.

    `headers` go with every request: the document's own, in lower case, then the credentials.
    `fault` says why it cannot be called: its attempts fail with it.
    """

    name: str
    spec: ProviderSpec
    codec: Codec
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(default="", repr=False)
    fault: str = ""

    @classmethod
    def of(
        cls, name: str, spec: ProviderSpec, *, environment: Mapping[str, str] = os.environ
    ) -> "Endpoint":
        """Resolve `spec`; credentials that are missing become `fault`. Blocks on files."""
        try:
            key, fault = secret(spec.credentials, environment=environment), ""
        except NotPossibleNow as error:
            key, fault = "", error.message
        format_ = codec(spec.codec)
        headers = {
            **{header.lower(): value for header, value in spec.headers.items()},
            **format_.auth_headers(key),
            "accept-encoding": "identity",
        }
        return cls(name=name, spec=spec, codec=format_, headers=headers, secret=key, fault=fault)


class Endpoints:
    """Every provider of the running snapshot, by name."""

    def __init__(self) -> None:
        self._endpoints: Mapping[str, Endpoint] = {}

    async def replace(self, specs: Mapping[str, ProviderSpec]) -> None:
        """Swap in `specs` as a whole; also how changed secrets are read again."""
        self._endpoints = await asyncio.to_thread(
            lambda: {name: Endpoint.of(name, spec) for name, spec in specs.items()}
        )

    @property
    def all(self) -> Mapping[str, Endpoint]:
        """Every provider as it is now; never changed, so that a mission may keep it."""
        return self._endpoints

    def get(self, name: str) -> Endpoint:
        """The provider called `name`; NotFound when the snapshot holds none. O(1)."""
        try:
            return self._endpoints[name]
        except KeyError:
            raise NotFound(f"no provider is called `{name}`: add a `Provider` document") from None
