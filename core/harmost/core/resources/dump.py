"""A document as canonical YAML: what it means decides the bytes, not how it was written.

Fields stand in the order of their kind, those at their default are left out, free mappings are
sorted. Reading it gives the same document; two documents mean the same exactly when it is the same.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

import msgspec
import yaml
from yaml.cyaml import CSafeDumper

from harmost.core.resources.kinds import Document
from harmost.core.resources.nodes import core_scalar
from harmost.core.resources.parse import API_VERSION

__all__ = ["content_digest", "dump", "etag_of"]

WIDTH_MAX = 1_000_000  # never folds a line: a diff of two dumps is a diff of what they say


def dump(document: Document) -> bytes:
    """`document` as canonical UTF-8 YAML. O(size)."""
    content = {
        "apiVersion": API_VERSION,
        "kind": document.kind,
        "metadata": _said(document.metadata),
        "spec": _said(document.spec),
    }
    return yaml.dump(
        content,
        Dumper=_Dumper,
        allow_unicode=True,
        encoding="utf-8",
        sort_keys=False,
        width=WIDTH_MAX,
    )


def etag_of(content: bytes) -> str:
    """What changes whenever a document's canonical YAML does: its SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def content_digest(contents: Iterable[bytes]) -> bytes:
    """SHA-256 over canonical documents, whatever their order."""
    whole = hashlib.sha256()
    for digest in sorted(hashlib.sha256(content).digest() for content in contents):
        whole.update(digest)
    return whole.digest()


def _said(value: Any) -> Any:
    """`value` as builtins, fields at their default left out."""
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: _said(said)
            for field in _fields(type(value))
            if (said := getattr(value, field.name)) != _default(field)
        }
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return {key: _said(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, list | tuple):
        return [_said(item) for item in cast("Sequence[Any]", value)]
    return value


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


class _Dumper(CSafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would read as other than text; long text stands in blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if isinstance(core_scalar(text), str) else "'"
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
