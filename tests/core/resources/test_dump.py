"""Canonical YAML: stable, quoted where it must be, read back as the same document."""

from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.resources.dump import content_digest, dump, etag_of
from harmost.core.resources.kinds import (
    Document,
    Metadata,
    MissionProfileSpec,
    Output,
    PolicySpec,
    Redact,
    Rule,
    Step,
)
from harmost.core.resources.parse import ParsedDocument, Source, parse_sources

Parse = Callable[[str], tuple[ParsedDocument, ...]]
HEAD = "apiVersion: harmost.dev/v1\nkind: Model\nmetadata: {name: m}\n"

# What YAML can carry at all: no surrogates, no control characters but tab and line feed.
TEXT = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff", include_characters="\n\t"
    ),
    max_size=60,
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def read_back(document: Document) -> Document:
    return parse_sources([Source("t", dump(document))])[0].document


@given(description=TEXT, labels=st.dictionaries(TEXT, TEXT, max_size=3), schema=VALUES)
def test_any_document_is_read_back_as_it_was(
    description: str, labels: dict[str, str], schema: object
) -> None:
    step = Step(name="s", models=("a", "b"), output=Output(schema={"x": schema}))
    document = Document(
        kind="MissionProfile",
        metadata=Metadata(name="p", description=description, labels=labels),
        spec=MissionProfileSpec(steps=(step,)),
    )
    assert read_back(document) == document


@pytest.mark.parametrize(
    "text",
    ["no", "on", "true", "null", "~", "", "1", "1e3", "0o17", "0x1F", "1_000", "1:30", ".5", ".inf",
     "2026-01-01", "- a", "a: b", "a #b", " a", "a ", "\n", "a\n", "\n a\n", "*a", "<<", "=", "\t"],
)  # fmt: skip
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    document = Document(
        kind="Policy",
        metadata=Metadata(name="p", description=text, labels={text: text}),
        spec=PolicySpec(rules=(Rule(name="r", deny=text),)),
    )
    assert read_back(document) == document
    assert yaml.safe_load(dump(document))["metadata"].get("description", "") == text


def test_writing_does_not_matter_only_meaning_does(parse: Parse) -> None:
    (short,) = parse(HEAD + "spec: {vendor_model_id: v, provider: 'p', quality: {b: 1, a: 2}}")
    (long,) = parse(
        HEAD + "spec:\n  provider: p # here\n  vendor_model_id: v\n  status: active\n"
        "  quality: {a: 2, b: 1}\n"
    )
    assert dump(short.document) == dump(long.document)


def test_another_meaning_has_another_etag(parse: Parse) -> None:
    (one,) = parse(HEAD + "spec: {provider: p, vendor_model_id: v}")
    (two,) = parse(HEAD + "spec: {provider: p, vendor_model_id: w}")
    assert etag_of(dump(one.document)) != etag_of(dump(two.document))
    assert len(etag_of(dump(one.document))) == 64


def test_form_is_what_a_person_writes() -> None:
    document = Document(
        kind="Policy",
        metadata=Metadata(name="p", tenant="acme"),
        spec=PolicySpec(rules=(Rule(name="r", when="a\nb\n", redact=Redact(classes=("pan",), with_="mask_last4")),)),
    )  # fmt: skip
    assert dump(document).decode() == (
        "apiVersion: harmost.dev/v1\nkind: Policy\nmetadata:\n  name: p\n  tenant: acme\n"
        "spec:\n  rules:\n  - name: r\n    when: |\n      a\n      b\n"
        "    redact:\n      classes:\n      - pan\n      with: mask_last4\n"
    )


def test_digest_does_not_depend_on_order() -> None:
    assert content_digest([b"a", b"b"]) == content_digest([b"b", b"a"])
    assert content_digest([b"a", b"b"]) != content_digest([b"ab"])
