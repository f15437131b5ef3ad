"""YAML sources into typed documents, or all that is wrong with them, each problem at its place.

Looks at one document at a time, and that none stands twice: whether documents fit together is
resolve.py's to say.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from harmost.core.errors import InvalidDocuments, Violation
from harmost.core.limits import DOCUMENTS_BYTES_MAX, DOCUMENTS_MAX
from harmost.core.resources.kinds import KINDS, Document, Metadata, Spec
from harmost.core.resources.nodes import MappingNode, Node, Place, ScalarNode, Unreadable, compose
from harmost.core.resources.shapes import Report, check_fields, check_shape, plain, quoted
from harmost.core.tenants import LEVEL_RULE, is_path

__all__ = [
    "API_VERSION",
    "TEST_KIND",
    "ParsedDocument",
    "Problems",
    "Source",
    "decoded",
    "parse_sources",
]

API_VERSION = "harmost.dev/v1"
TEST_KIND = "PolicyTest"  # of files that stand beside documents and are none: policy/cases.py
PROBLEMS_MAX = 100  # enough to mend a set by; the count says how many more there are

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_ENVELOPE = ("apiVersion", "kind", "metadata", "spec")


class Source(NamedTuple):
    """One YAML file: how problems name it, and its bytes."""

    name: str
    content: bytes


class ParsedDocument(NamedTuple):
    """A document that is well formed, and where each part of it stands."""

    document: Document
    root: MappingNode

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name: what no two documents share."""
        return self.document.kind, self.document.metadata.name

    def where(self, *path: str | int) -> Place:
        """Where `path` stands, such as ("spec", "rules", 0, "when"); else the nearest around it."""
        return self.node(*path).place

    def node(self, *path: str | int) -> Node:
        """The node at `path`, or the nearest one around it that was written."""
        node: Node = self.root
        for part in path:
            found: Node | None = None
            if isinstance(node, MappingNode):
                found = node.values.get(str(part))
            elif not isinstance(node, ScalarNode) and isinstance(part, int):
                found = node.items[part] if part < len(node.items) else None
            if found is None:
                return node
            node = found
        return node


class Problems:
    """Collects what is wrong, so that one look at the answer mends all of it."""

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self.count = 0

    def add(self, place: Place, description: str) -> None:
        """Note that `description` is wrong at `place`; beyond PROBLEMS_MAX they are only counted."""
        self.count += 1
        if len(self._found) < PROBLEMS_MAX:
            self._found.append(Violation(str(place), description))

    def raise_any(self) -> None:
        """Raise InvalidDocuments with all that was found, if anything was."""
        if self.count:
            raise self.error()

    def error(self) -> InvalidDocuments:
        """All that was found, of which there is something."""
        first = self._found[0]
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return InvalidDocuments(f"{first.field}: {first.description}{more}", violations=self._found)


def parse_sources(sources: Sequence[Source]) -> tuple[ParsedDocument, ...]:
    """The documents of all `sources`, in order.

    Raises InvalidDocuments with every problem, its field "file:line:column". O(bytes), about
    1 MB/s.
    """
    problems = Problems()
    documents: dict[tuple[str, str], ParsedDocument] = {}
    total = sum(len(source.content) for source in sources)
    if total > DOCUMENTS_BYTES_MAX:
        raise InvalidDocuments(
            f"the documents are {total} bytes: at most {DOCUMENTS_BYTES_MAX} can be loaded"
        )
    for source in sources:
        for parsed in _parse_source(source, problems.add):
            first = documents.setdefault(parsed.key, parsed)
            if first is not parsed:
                problems.add(
                    parsed.where(),
                    f"{parsed.key[0]} {quoted(parsed.key[1])} stands twice, first at "
                    f"{first.where()}: remove one",
                )
    if len(documents) > DOCUMENTS_MAX:
        raise InvalidDocuments(f"{len(documents)} documents: at most {DOCUMENTS_MAX} can be loaded")
    problems.raise_any()
    return tuple(documents.values())


def _parse_source(source: Source, report: Report) -> list[ParsedDocument]:
    documents: list[ParsedDocument] = []
    try:
        for root in compose(source.name, decoded(source)):
            if isinstance(root, ScalarNode) and root.value is None:
                continue  # nothing between two "---", or only comments
            parsed = _parse_document(root, report)
            if parsed is not None:
                documents.append(parsed)
    except Unreadable as error:
        report(error.place, error.message)
    return documents


def decoded(source: Source) -> str:
    """The text of `source`; raises Unreadable."""
    try:
        return source.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source.content[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise Unreadable(
            Place(source.name, line, column), "not UTF-8: save the file as UTF-8"
        ) from error


def _parse_document(root: Node, report: Report) -> ParsedDocument | None:
    if not isinstance(root, MappingNode):
        report(root.place, "a document must be a mapping: begin with `apiVersion: harmost.dev/v1`")
        return None
    if _word(root, "kind") == TEST_KIND:
        place = root.values["kind"].place
        report(place, "tests of policies are not applied: run them with `harmost policy test -f`")
        return None
    sound = check_fields(root, _ENVELOPE, ("apiVersion", "kind", "metadata"), report, "")
    sound &= _check_word(root, "apiVersion", (API_VERSION,), report)
    sound &= _check_word(root, "kind", tuple(KINDS), report)
    kind = _word(root, "kind")
    metadata = _metadata(root, kind, report)
    spec_type = KINDS.get(kind)
    if spec_type is None:
        return None
    spec_node = root.values.get("spec") or MappingNode(root.place, {}, {})
    sound &= check_shape(spec_node, spec_type, "spec", report)
    if not sound or metadata is None:
        return None
    spec: Spec = msgspec.convert(plain(spec_node), spec_type)
    return ParsedDocument(Document(kind=kind, metadata=metadata, spec=spec), root)


def _word(root: MappingNode, field: str) -> str:
    node = root.values.get(field)
    return node.text if isinstance(node, ScalarNode) else ""


def _check_word(root: MappingNode, field: str, words: tuple[str, ...], report: Report) -> bool:
    node = root.values.get(field)
    word = _word(root, field)
    if node is None or word in words:
        return True
    report(node.place, f"`{field}` {quoted(word)} is not known: write {', '.join(words)}")
    return False


def _metadata(root: MappingNode, kind: str, report: Report) -> Metadata | None:
    node = root.values.get("metadata")
    if node is None or not check_shape(node, Metadata, "metadata", report):
        return None
    metadata = msgspec.convert(plain(node), Metadata)
    sound = True
    assert isinstance(node, MappingNode)  # check_shape said so
    if kind == "Tenant":
        if not is_path(metadata.name):
            report(node.values["name"].place, f"{quoted(metadata.name)} is no path: {LEVEL_RULE}")
            sound = False
    elif not _NAME.fullmatch(metadata.name):
        report(
            node.values["name"].place,
            f"{quoted(metadata.name)} is no name: write 1 to 128 letters, digits, `.`, `_`, `:`, "
            "`/` and `-`, beginning with a letter or digit",
        )
        sound = False
    if metadata.tenant and not is_path(metadata.tenant):
        report(node.values["tenant"].place, f"{quoted(metadata.tenant)} is no path: {LEVEL_RULE}")
        sound = False
    return metadata if sound else None
