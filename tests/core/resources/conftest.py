"""Documents to test with, and what is wrong with them as (line, column, text)."""

from collections.abc import Callable

import pytest

from harmost.core.errors import InvalidDocuments
from harmost.core.resources.parse import ParsedDocument, Source, parse_sources
from harmost.core.resources.snapshot import compile_snapshot

BASE = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: globex}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: vendor}
spec: {codec: openai, base_url: "https://api.example.com/v1"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: small}
spec: {provider: vendor, vendor_model_id: small-1}
"""


@pytest.fixture
def parse() -> Callable[[str], tuple[ParsedDocument, ...]]:
    """Text to documents; the source is called t.yaml."""
    return lambda text: parse_sources([Source("t.yaml", text.encode())])


@pytest.fixture
def base() -> tuple[ParsedDocument, ...]:
    """Two tenants, a provider `vendor` and its model `small`, both of the whole deployment."""
    return parse_sources([Source("base.yaml", BASE.encode())])


@pytest.fixture
def problems(base: tuple[ParsedDocument, ...]) -> Callable[[str], list[str]]:
    """What is wrong with text together with the base documents, "file:line:column what" each."""

    def find(text: str) -> list[str]:
        try:
            documents = parse_sources([Source("t.yaml", text.encode())])
            compile_snapshot(1, [*base, *documents])
        except InvalidDocuments as error:
            return [f"{found.field} {found.description}" for found in error.violations]
        return []

    return find


@pytest.fixture
def document() -> Callable[..., str]:
    """One document as text: `spec` stands from line 4, column 1 on, as written."""

    def make(kind: str, spec: str, *, name: str = "x", tenant: str = "acme") -> str:
        metadata = (
            f"{{name: {name}}}" if kind == "Tenant" else f"{{name: {name}, tenant: {tenant}}}"
        )
        return f"apiVersion: harmost.dev/v1\nkind: {kind}\nmetadata: {metadata}\n{spec}\n"

    return make
