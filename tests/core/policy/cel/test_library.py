"""What was compiled once is had again without a compiler, for the same facts only."""

import msgspec
import pytest

from harmost.core.errors import InvalidInput
from harmost.core.limits import CEL_LIBRARY_BYTES_MAX
from harmost.core.policy.cel.expression import ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.front import Environment
from harmost.core.policy.cel.library import Library, read_library

SCHEMA = Schema({"steps.a.score": "int"}, defaults=False)
SOURCE = "steps.a.score > 3"


def written(*sources: str) -> bytes:
    library = Library(compiler_of=Environment)
    for source in sources:
        library.over(SCHEMA).compile(source)
    return library.written()


def test_what_was_compiled_is_read_back_without_a_compiler() -> None:
    expression = read_library(written(SOURCE)).over(SCHEMA).compile(SOURCE)
    assert expression.holds_for({"steps.a.score": 4}) == (True, "")
    assert expression.source == SOURCE
    assert expression.names == {"steps.a.score"}


def test_what_was_not_compiled_is_refused_with_what_to_do() -> None:
    library = read_library(written(SOURCE))
    with pytest.raises(ExpressionRefused, match="was not compiled: apply the documents again"):
        library.over(SCHEMA).compile("steps.a.score > 4")


def test_the_same_text_over_other_facts_is_another_expression() -> None:
    library = read_library(written(SOURCE))
    other = Schema({"steps.a.score": "double"}, defaults=False)
    with pytest.raises(ExpressionRefused, match="was not compiled"):
        library.over(other).compile(SOURCE)


def test_equal_libraries_are_equal_bytes() -> None:
    first, second = SOURCE, "steps.a.score == 0"
    assert written(first, second) == written(second, first, first)
    assert read_library(written(first)).written() == written(first)


def test_a_source_that_is_refused_is_not_kept() -> None:
    library = Library(compiler_of=Environment)
    with pytest.raises(ExpressionRefused):
        library.over(SCHEMA).compile("steps.a.score")
    assert library.written() == Library().written()


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81", b"\x93\x01\x02\x03", b"\xff" * 100, b"\x91" * 100_000]
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="unreadable"):
        read_library(data)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(InvalidInput, match=f"more than {CEL_LIBRARY_BYTES_MAX} bytes"):
        read_library(b"\0" * (CEL_LIBRARY_BYTES_MAX + 1))


def test_a_hostile_tree_is_refused_when_it_is_asked_for() -> None:
    facts = next(iter(msgspec.msgpack.decode(written(SOURCE))))
    library = read_library(msgspec.msgpack.encode({facts: {SOURCE: b"\x92\x01\x91\xa1!"}}))
    with pytest.raises(ExpressionRefused, match="unreadable"):
        library.over(SCHEMA).compile(SOURCE)
