"""Facts about messages written from structs: they are what protobuf's encoding says, in order and whole."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.messages.form import Field, Form

NS_PER_S = 1_000_000_000
STATES = {"good": 1, "bad": 2, "none": 0}


class Part(NamedTuple):
    """What stands in another."""

    name: str
    count: int


class Whole(NamedTuple):
    """Every kind of field."""

    number: int
    flag: bool
    state: str | None
    text: str
    data: bytes
    at_ns: int
    part: Part | None
    parts: tuple[Part, ...]
    texts: tuple[str, ...]
    counts: dict[str, int]
    named: dict[str, Part]
    blob: str | None


class One(NamedTuple):
    """One value."""

    x: Any


PART = Form([Field(2, "count", "int"), Field(1, "name", "text")])
WHOLE = Form(
    [
        Field(1, "number", "int"),
        Field(2, "flag", "bool"),
        Field(3, "state", "enum", how=STATES),
        Field(4, "text", "text"),
        Field(5, "data", "bytes"),
        Field(6, "at_ns", "time"),
        Field(7, "part", "message", how=PART),
        Field(8, "parts", "message", how=PART, repeated=True),
        Field(9, "texts", "text", repeated=True),
        Field(10, "counts", "int", mapped=True),
        Field(16, "named", "message", how=PART, mapped=True),
        Field(2_000, "blob", "written", how=lambda text: text.encode()),
    ]
)


# The slow twin: protobuf.dev, "Encoding", word for word.


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number_of(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def sized(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def part_of(part: Part) -> bytes:
    name = part.name.encode()
    return (sized(1, name) if name else b"") + number_of(2, part.count)


def slowly(whole: Whole) -> bytes:
    seconds, nanos = divmod(whole.at_ns, NS_PER_S)
    at = number_of(1, seconds) + number_of(2, nanos)
    return b"".join(
        [
            number_of(1, whole.number),
            number_of(2, whole.flag),
            number_of(3, STATES[whole.state]) if whole.state is not None else b"",
            sized(4, whole.text.encode()) if whole.text else b"",
            sized(5, whole.data) if whole.data else b"",
            sized(6, at) if whole.at_ns else b"",
            sized(7, part_of(whole.part)) if whole.part is not None else b"",
            *(sized(8, part_of(part)) for part in whole.parts),
            *(sized(9, text.encode()) for text in whole.texts),
            *(
                sized(10, sized(1, key.encode()) + varint(2 << 3) + varint(value))
                for key, value in whole.counts.items()
            ),
            *(
                sized(16, sized(1, key.encode()) + sized(2, part_of(part)))
                for key, part in whole.named.items()
            ),
            sized(2_000, whole.blob.encode()) if whole.blob is not None else b"",
        ]
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
numbers = st.integers(-(2**63), 2**63 - 1)
parts = st.builds(Part, texts, numbers)
wholes = st.builds(
    Whole,
    numbers,
    st.booleans(),
    st.none() | st.sampled_from(sorted(STATES)),
    texts,
    st.binary(max_size=300),
    numbers,
    parts,
    st.lists(parts, max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
    st.dictionaries(texts, numbers, max_size=3),
    st.dictionaries(texts, parts, max_size=3),
    st.none() | texts,
)


@given(wholes)
def test_a_form_writes_what_its_slow_twin_writes(whole: Whole) -> None:
    assert WHOLE.write(whole) == slowly(whole)


def test_a_field_may_be_written_from_an_attribute_of_an_attribute() -> None:
    form = Form([Field(3, "x.x.name", "text")])
    assert form.write(One(One(Part("deep", 1)))) == sized(3, b"deep")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_message_within_a_message_is_sized_whatever_its_size(size: int) -> None:
    form = Form([Field(1, "part", "message", how=PART), Field(2, "number", "int")])

    class Outer(NamedTuple):
        part: Part
        number: int

    part = Part("x" * size, 0)
    assert form.write(Outer(part, 9)) == sized(1, part_of(part)) + number_of(2, 9)


@pytest.mark.parametrize(
    ("field", "error"),
    [
        (lambda: Field(0, "x", "int"), ValueError),
        (lambda: Field(2**29, "x", "int"), ValueError),
        (lambda: Field(1, "x", "enum"), ValueError),
        (lambda: Field(1, "x", "message", how={}), ValueError),
        (lambda: Field(1, "x", "text", how={}), ValueError),
        (lambda: Field(1, "x", "int", repeated=True), ValueError),
        (lambda: Field(1, "x", "float"), KeyError),
        (lambda: Form([Field(1, "x", "int"), Field(1, "y", "int")]), ValueError),
    ],
)
def test_a_field_that_cannot_be_written_is_refused(field: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        field()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        (Field(1, "x", "int"), 2**63, OverflowError),
        (Field(1, "x", "int"), "1", TypeError),
        (Field(1, "x", "text"), b"bytes", TypeError),
        (Field(1, "x", "text"), "\ud800", UnicodeEncodeError),
        (Field(1, "x", "bytes"), "text", TypeError),
        (Field(1, "x", "enum", how=STATES), "unheard of", KeyError),
        (Field(1, "x", "written", how=lambda _: "no bytes"), 1, TypeError),
        (Field(1, "y", "int"), 1, AttributeError),
        (Field(1, "x.name", "text"), None, AttributeError),
    ],
)
def test_a_value_of_another_kind_raises_and_writes_nothing(
    field: Field, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Form([field]).write(One(value))


def test_what_a_field_calls_may_write_by_the_same_form() -> None:
    forms: list[Form] = []
    inner = One("")
    forms.append(
        Form([Field(1, "x", "written", how=lambda x: forms[0].write(inner) if x == 1 else b"")])
    )
    assert forms[0].write(One(1)) == sized(1, sized(1, b""))


@pytest.mark.parametrize("year_s", [-62_135_596_800, 253_402_300_799])
def test_a_time_may_be_any_that_a_timestamp_can_hold(year_s: int) -> None:
    """An exception that expires in 2999 is an expiry like any other: 64 bits of nanoseconds end in 2262."""
    form = Form([Field(6, "x", "time")])
    at = number_of(1, year_s) + number_of(2, 999_999_999)
    assert form.write(One(year_s * NS_PER_S + 999_999_999)) == sized(6, at)
