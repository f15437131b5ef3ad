"""YAML becomes typed documents, or every problem is told at its line and column."""

from collections.abc import Callable

import pytest

from harmost.core.errors import InvalidDocuments
from harmost.core.limits import DOCUMENTS_BYTES_MAX
from harmost.core.resources.kinds import MissionProfileSpec, ModelSpec, PolicySpec
from harmost.core.resources.nodes import DEPTH_MAX
from harmost.core.resources.parse import PROBLEMS_MAX, ParsedDocument, Source, parse_sources

HEAD = "apiVersion: harmost.dev/v1\nkind: Model\nmetadata: {name: m}\n"

Parse = Callable[[str], tuple[ParsedDocument, ...]]


def wrong(content: str | bytes) -> list[str]:
    """The problems, "line:column what" each."""
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(InvalidDocuments) as caught:
        parse_sources([Source("t.yaml", data)])
    found = [f"{it.field} {it.description}" for it in caught.value.violations]
    assert all(text.startswith("t.yaml:") for text in found)
    return [text.removeprefix("t.yaml:") for text in found]


def test_document_is_typed(parse: Parse) -> None:
    (parsed,) = parse(
        HEAD + "spec: {provider: p, vendor_model_id: v, price: {input: '1', output: '2'}}"
    )
    assert parsed.key == ("Model", "m")
    assert isinstance(parsed.document.spec, ModelSpec)
    assert parsed.document.spec.context_tokens_max == 128_000


def test_words_of_yaml_1_1_stay_text(parse: Parse) -> None:
    (parsed,) = parse(
        "apiVersion: harmost.dev/v1\nkind: MissionProfile\nmetadata: {name: m}\n"
        "spec: {models: [no, yes, off], system: 2026-01-01, hop: {on: [error, stall]}}"
    )
    spec = parsed.document.spec
    assert isinstance(spec, MissionProfileSpec)
    assert spec.models == ("no", "yes", "off")
    assert spec.system == "2026-01-01"
    assert spec.hop.on == ("error", "stall")


def test_empty_documents_are_skipped(parse: Parse) -> None:
    assert (
        len(
            parse(
                f"---\n---\n# only this\n---\n{HEAD}spec: {{provider: p, vendor_model_id: v}}\n---\n"
            )
        )
        == 1
    )
    assert parse("") == ()


def test_byte_order_mark_is_taken(parse: Parse) -> None:
    assert len(parse("\ufeff" + HEAD + "spec: {provider: p, vendor_model_id: v}")) == 1


def test_missing_spec_of_a_kind_that_needs_none_is_empty(parse: Parse) -> None:
    (parsed,) = parse("apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: a/b}")
    assert parsed.document.owner == "a/b"


def test_all_problems_of_all_documents_are_told() -> None:
    found = wrong(
        HEAD
        + "spec:\n  provdier: p\n  context_tokens_max: many\n  status: activ\n---\nkind: Nothing\n"
    )
    assert [text.split(" ")[0] for text in found] == [
        "5:3", "5:3", "5:3", "6:23", "7:11", "9:1", "9:1", "9:7",
    ]  # fmt: skip
    assert "did you mean `provider`?" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec: {provider: p, vendor_model_id: 3}", "4:38 `spec.vendor_model_id` must be text"),
        ("spec: {provider: [p], vendor_model_id: v}", "4:18 `spec.provider` must be text, not a list"),
        ("spec: {provider: , vendor_model_id: v}", "`spec.provider` must be text, not nothing"),
        ("spec: [1]", "4:7 `spec` must be a mapping of fields, not a list"),
        ("spec: {provider: p}", "4:7 `spec.vendor_model_id` is missing: add it"),
        ("spec: {provider: p, vendor_model_id: v, capabilities: chat}", "4:55 `spec.capabilities` must be a list"),
        ("spec: {provider: p, vendor_model_id: v, quality: {code: high}}", "4:57 `spec.quality.code` must be a whole number, not `high`"),
        ("spec: {provider: p, vendor_model_id: v, output_tokens_max: true}", "must be a whole number, not `true`"),
        ("spec: {provider: p, vendor_model_id: v, output_tokens_max: 1.5}", "must be a whole number, not `1.5`"),
        ("spec: {provider: p, vendor_model_id: v, output_tokens_max: 99999999999999999999}", "is beyond 64 bits"),
        ("spec: {provider: p, vendor_model_id: v, output_tokens_max: " + "9" * 5000 + "}", "must be a whole number"),
        ("spec: {provider: p, vendor_model_id: v, status: actve}", "4:49 `spec.status` cannot be `actve`: did you mean `active`?"),
        ("spec: {provider: p, provider: q, vendor_model_id: v}", "4:21 `provider` stands twice, first on line 4"),
        ("spec: &a {provider: *a}", "4:21 `*a` stands inside its own anchor"),
        ("spec: {provider: *b}", "4:18 `*b` has no anchor before it"),
        ("spec: {provider: !!python/object:os.system p}", "4:18 the tag `tag:yaml.org,2002:python/object:os.system` is not used"),
        ("spec: {? [a] : b}", "4:10 a key must be plain text"),
        ("spec: {provider: p", "not YAML: while parsing a flow mapping"),
        ("spec: \x01", "a character that YAML does not allow"),
        ("spec: {provider: p, vendor_model_id: v, colour: red}", "4:41 `spec.colour` is not a field: known are provider"),
    ],
)  # fmt: skip
def test_each_mistake_is_placed_and_explained(text: str, expected: str) -> None:
    assert any(expected in found for found in wrong(HEAD + text)), wrong(HEAD + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "1:1 a document must be a mapping"),
        ("just text", "1:1 a document must be a mapping"),
        ("apiVersion: v1\nkind: Model\nmetadata: {name: m}", "1:13 `apiVersion` `v1` is not known"),
        ("apiVersion: harmost.dev/v1\nkind: Modle\nmetadata: {name: m}", "2:7 `kind` `Modle`"),
        (HEAD.replace("{name: m}", "{name: 'a b'}"), "3:18 `a b` is no name"),
        (HEAD.replace("{name: m}", "{name: ''}"), "3:18 `` is no name"),
        (HEAD.replace("{name: m}", "{name: m, tenant: A}"), "3:29 `A` is no path"),
        (HEAD.replace("Model", "Tenant").replace("{name: m}", "{name: a//b}"), "3:18 `a//b` is no path"),
    ],
)  # fmt: skip
def test_each_mistake_of_the_envelope_is_placed(text: str, expected: str) -> None:
    assert any(expected in found for found in wrong(text)), wrong(text)


def test_a_document_that_stands_twice_is_refused() -> None:
    text = HEAD + "spec: {provider: p, vendor_model_id: v}\n"
    assert wrong(text + "---\n" + text) == [
        "6:1 Model `m` stands twice, first at t.yaml:1:1: remove one"
    ]


def test_bytes_that_are_not_utf8_are_placed() -> None:
    assert wrong(b"# fine\nkind: \xff\xfe") == ["2:7 not UTF-8: save the file as UTF-8"]


def test_aliases_are_expanded(parse: Parse) -> None:
    (parsed,) = parse(
        "apiVersion: harmost.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  rules:\n"
        "    - {name: &n one, deny: *n, cites: &c [a]}\n    - {name: two, deny: x, cites: *c}\n"
    )
    assert isinstance(parsed.document.spec, PolicySpec)
    assert parsed.document.spec.rules[0].deny == "one"
    assert parsed.document.spec.rules[1].cites == ("a",)


def test_alias_bomb_is_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases counted in full" in wrong("\n".join(levels))[0]


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert f"nested deeper than {DEPTH_MAX} levels" in wrong("x: " + opening * 5_000)[0]


def test_documents_beyond_the_bytes_are_refused() -> None:
    with pytest.raises(InvalidDocuments, match="at most"):
        parse_sources([Source("big.yaml", b"#" * (DOCUMENTS_BYTES_MAX + 1))])


def test_told_problems_are_bounded_and_counted() -> None:
    many = "".join(f"{HEAD}spec: {{a{n}: 1}}\n---\n" for n in range(200))
    with pytest.raises(InvalidDocuments, match=r"\(and 599 more\)") as caught:
        parse_sources([Source("t.yaml", many.encode())])
    assert len(caught.value.violations) == PROBLEMS_MAX


def test_text_in_the_wrong_place_is_not_repeated_where_a_secret_may_stand() -> None:
    head = "apiVersion: harmost.dev/v1\nkind: Provider\nmetadata: {name: m}\n"
    found = wrong(head + "spec: {codec: openai, base_url: 'http://x', credentials: 12345678}")
    assert found
    assert not any("12345678" in text for text in found)


def test_place_inside_a_document_is_the_nearest_that_was_written(parse: Parse) -> None:
    (parsed,) = parse(HEAD + "spec:\n  provider: p\n  vendor_model_id: v\n")
    assert str(parsed.where("spec", "provider")) == "t.yaml:5:13"
    assert str(parsed.where("spec", "price", "input")) == "t.yaml:5:3"
    assert str(parsed.where("nothing", 3)) == "t.yaml:1:1"


def test_tests_of_policies_are_told_from_documents() -> None:
    text = b"apiVersion: harmost.dev/v1\nkind: PolicyTest\nspec: {tests: []}\n"
    with pytest.raises(InvalidDocuments) as refused:
        parse_sources([Source("t.yaml", text)])
    (violation,) = refused.value.violations
    assert violation.field == "t.yaml:2:7"
    assert violation.description.endswith("run them with `harmost policy test -f`")
