"""Joins `Provider` documents with their codecs and their secrets, once per snapshot.

A provider with `regions` is one endpoint for each address; they share codec, secret and contract.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from harmost.core.errors import NotFound, NotPossibleNow
from harmost.core.providers.codec import Codec
from harmost.core.providers.registry import codec_of
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.credentials import secret

__all__ = ["Endpoint", "Endpoints"]


@dataclass(frozen=True)
class Endpoint:
    """A provider that can be called at `spec.base_url`, made by `of`.

    `headers` go with every request: the document's own, in lower case, then the credentials.
    `fault` says why it cannot be called: its attempts fail with it.
    """

    name: str
    spec: ProviderSpec  # `base_url` and `region` are this endpoint's
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
        format_ = codec_of(spec)
        headers = {
            **{header.lower(): value for header, value in spec.headers.items()},
            **format_.auth_headers(key),
            "accept-encoding": "identity",
        }
        return cls(name=name, spec=spec, codec=format_, headers=headers, secret=key, fault=fault)

    @property
    def title(self) -> str:
        """What people are told failed."""
        name = f"provider `{self.name}`"
        spec = self.spec
        return f"{name} in `{spec.region}`" if spec.regions and spec.region else name

    def by_region(self) -> "Mapping[str, Endpoint]":
        """This endpoint for models that name no region or its own, and one for each of `regions`."""
        others = {
            region: replace(
                self, spec=msgspec.structs.replace(self.spec, base_url=base_url, region=region)
            )
            for region, base_url in self.spec.regions.items()
        }
        return {"": self, self.spec.region: self, **others}


class Endpoints:
    """Every provider of the running snapshot, by name and region."""

    def __init__(self) -> None:
        self._endpoints: Mapping[str, Mapping[str, Endpoint]] = {}

    async def replace(self, specs: Mapping[str, ProviderSpec]) -> None:
        """Swap in `specs` as a whole; also how changed secrets are read again."""
        self._endpoints = await asyncio.to_thread(
            lambda: {name: Endpoint.of(name, spec).by_region() for name, spec in specs.items()}
        )

    def as_now(self) -> "Endpoints":
        """These providers, whatever `replace` does later: what a mission keeps."""
        kept = Endpoints()
        kept._endpoints = self._endpoints
        return kept

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
