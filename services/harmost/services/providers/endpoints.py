"""Joins `Provider` documents with their codecs and their secrets, once per snapshot.

A provider with `regions` is one endpoint for each address; they share codec, secret and contract.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import msgspec

from harmost.core.errors import NotFound
from harmost.core.providers.codec import Codec
from harmost.core.providers.registry import codec_of
from harmost.core.resources.kinds import ProviderSpec

from .credential import Credential
from .grants import Source
from .refresh import Refresher
from .sources import source as source_of

__all__ = ["Endpoint", "Endpoints"]


@dataclass(frozen=True)
class Endpoint:
    """A provider that can be called at `spec.base_url`, made by `of`.

    `headers` go with every request: the document's own, in lower case. What authenticates it is
    `credential`'s to say.
    """

    name: str
    spec: ProviderSpec  # `base_url` and `region` are this endpoint's
    codec: Codec
    headers: Mapping[str, str]
    credential: Credential = field(repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        spec: ProviderSpec,
        *,
        source: Source | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "Endpoint":
        """Resolve `spec`. Without a `source`, credentials are fetched here, which blocks."""
        if source is None:
            source = source_of(spec.credentials, scope=spec.auth_scope, environment=environment)
            source.fetch()
        format_ = codec_of(spec)
        headers = {
            **{header.lower(): value for header, value in spec.headers.items()},
            "accept-encoding": "identity",
        }
        return cls(name, spec, format_, headers, Credential.of(spec, format_, source))

    @property
    def fault(self) -> str:
        """Why it cannot be called now: its attempts fail with it. "" where it can."""
        return self.credential.fault

    @property
    def title(self) -> str:
        """What people are told failed."""
        name = f"provider `{self.name}`"
        spec = self.spec
        return f"{name} in `{spec.region}`" if spec.regions and spec.region else name

    def by_region(self) -> "Mapping[str, Endpoint]":
        """This endpoint for models that name no region or its own, and one for each of `regions`."""
        others = {region: self._at(region, url) for region, url in self.spec.regions.items()}
        return {"": self, self.spec.region: self, **others}

    def _at(self, region: str, base_url: str) -> "Endpoint":
        spec = msgspec.structs.replace(self.spec, base_url=base_url, region=region)
        credential = Credential.of(spec, self.codec, self.credential.source)
        return replace(self, spec=spec, credential=credential)


class Endpoints:
    """Every provider of the running snapshot, by name and region."""

    def __init__(self, refresher: Refresher | None = None) -> None:
        self._endpoints: Mapping[str, Mapping[str, Endpoint]] = {}
        self._refresher = refresher

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep credentials fresh until the block ends."""
        async with self._kept_fresh().running():
            yield

    async def replace(self, specs: Mapping[str, ProviderSpec]) -> None:
        """Swap in `specs` as a whole; also how changed secrets are read again."""
        sources = await self._kept_fresh().sources(specs.values())
        self._endpoints = {
            name: Endpoint.of(name, spec, source=sources[Refresher.key(spec)]).by_region()
            for name, spec in specs.items()
        }

    def as_now(self) -> "Endpoints":
        """These providers, whatever `replace` does later: what a mission keeps."""
        kept = Endpoints()
        kept._endpoints = self._endpoints
        return kept

    def _kept_fresh(self) -> Refresher:
        if self._refresher is None:
            self._refresher = Refresher()
        return self._refresher

    def get(self, name: str, region: str = "") -> Endpoint:
        """The provider called `name` where a model in `region` is; O(1).

        A provider without `regions` has one address, wherever its models say they are. NotFound when
        the snapshot holds none.
        """
        known = self._endpoints.get(name)
        if known is None:
            raise NotFound(f"no provider is called `{name}`: add a `Provider` document")
        found = known.get(region)
        if found is None and known[""].spec.regions:
            raise NotFound(
                f"provider `{name}` has no address in `{region}`: add it to its `regions`"
            )
        return found or known[""]
