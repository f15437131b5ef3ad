"""The scanner finds what its slow Python twin finds, and stays linear on hostile text."""

import re
import unicodedata
from itertools import takewhile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmost.core.privacy.classes import FOUND_CLASSES, IMPLIED_CLASSES, with_implied
from harmost.core.privacy.scan import find
from harmost.core.privacy.span import Span

# The twin: the same sentences over plain strings, in quadratic time.

SEPARATORS = " -\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\u3000"
LENGTHS_BY_PREFIX = [
    (r"0604|50|5[678]|6304|6390|67", "12 13 14 15 16 17 18 19"),
    (r"1800|2131|34|37", "15"),
    (r"220[0-4]|352[89]|35[3-8]|81[0-6]|817[01]", "16 17 18 19"),
    (r"222[1-9]|22[3-9]|2[3-6]|27[01]|2720|5[1-5]|82|9792", "16"),
    (r"30[0-5]|3095|36|38|39", "14 15 16 17 18 19"),
    (r"4", "13 16 19"),
    (r"6", "16 17 18 19"),
]


def twin(text: str) -> list[Span]:
    return sorted(twin_emails(text) + twin_pans(text), key=lambda span: (span[0], -span[1]))


def twin_emails(text: str) -> list[Span]:
    spans: list[Span] = []
    for sign, character in enumerate(text):
        done = spans[-1].end if spans else 0
        if character not in "@\uff20\ufe6b" or sign < done:
            continue
        before = "".join(takewhile(is_local, reversed(text[done:sign])))[::-1].lstrip(".%-'")
        ends = domain_ends("".join(takewhile(is_domain, text[sign + 1 :])))
        if before and ends:
            spans.append(Span(sign - len(before), sign + 1 + ends[-1], "email"))
    return spans


def is_local(character: str) -> bool:
    return character.isalnum() or character in "_+.%-'"


def is_domain(character: str) -> bool:
    return character.isalnum() or character in "-."


def domain_ends(domain: str) -> list[int]:
    """Where the domains end that `domain` begins with."""
    labels = domain.split(".")
    ends: list[int] = []
    for count in range(1, len(labels) + 1):
        last = labels[count - 1].rstrip("-")
        if labels[count - 1] == "":
            break
        if count > 1 and len(last) > 1 and last[0].isalpha():
            ends.append(len(".".join([*labels[: count - 1], last])))
    return ends


def twin_pans(text: str) -> list[Span]:
    plain = "".join(map(plain_character, text))
    spans: list[Span] = []
    for start in range(len(plain)):
        ends = [end for end in range(start + 12, start + 38) if is_pan(plain, start, end)]
        if not ends:
            continue
        if spans and start < spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, ends[-1]), "pan")
        else:
            spans.append(Span(start, ends[-1], "pan"))
    return spans


def plain_character(character: str) -> str:
    """An ASCII digit for a digit, "-" for a separator, "." for a point, "x" for all else."""
    if character in SEPARATORS:
        return "-"
    if character == ".":
        return "."
    return str(unicodedata.decimal(character, "x"))


def is_pan(plain: str, start: int, end: int) -> bool:
    digits = plain[start:end].replace("-", "")
    return (
        end <= len(plain)
        and re.fullmatch("[0-9]+(-[0-9]+)*", plain[start:end]) is not None
        and not plain[max(0, start - 1) : start].isdigit()
        and not plain[end : end + 1].isdigit()
        and re.fullmatch(r"[0-9]\.", plain[max(0, start - 2) : start]) is None
        and len(digits) in lengths(digits)
        and luhn(digits)
    )


def lengths(digits: str) -> list[int]:
    for prefix, allowed in LENGTHS_BY_PREFIX:
        if re.match(prefix, digits):
            return [int(length) for length in allowed.split()]
    return []


def luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + index % 2) for index, d in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def with_check_digit(digits: str) -> str:
    return next(digits + check for check in "0123456789" if luhn(digits + check))


PIECES = st.one_of(
    st.text(max_size=6),
    st.text(alphabet="0123456789 -.", max_size=24),
    st.text(alphabet="ab1.@-_%+' ", max_size=16),
    st.sampled_from(["4111 1111 1111 1111", "bob@x.com", "@", ". ", "-", " "]),
    st.tuples(
        st.sampled_from(["4", "51", "2221", "3782", "50", "6011", "6304", "36", "1800", "9792"]),
        st.text(alphabet="0123456789", min_size=7, max_size=15),
        st.sampled_from(["", " ", "-", "\u00a0"]),
    ).map(lambda parts: parts[2].join(re.findall(".{1,4}", with_check_digit(parts[0] + parts[1])))),
)


@settings(max_examples=600, deadline=None)
@given(text=st.lists(PIECES, max_size=6).map("".join))
@example(text="68003411111111111")
@example(text="5011 4111 1111 1111 1111 6")
@example(text="a@b.co@d.com")
@example(text="a@b@c.com")
@example(text="a.b@c--.com-.")
def test_it_finds_what_its_twin_finds(text: str) -> None:
    assert find(text) == twin(text)


FULL_WIDTH = {ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}


def test_prefixes_and_lengths_are_those_of_the_schemes() -> None:
    for prefix in range(10_000):
        allowed = lengths(f"{prefix:04}")
        for length in range(11, 21):
            number = with_check_digit(f"{prefix:04}".ljust(length - 1, "0"))
            assert bool(find(number)) == (length in allowed), number


def found(text: str) -> list[tuple[str, str]]:
    return [(span.data_class, text[span.start : span.end]) for span in find(text)]


@pytest.mark.parametrize(
    "number",
    [
        # The schemes' own test numbers.
        "4111111111111111",
        "4222222222222",
        "4012888888881881",
        "5555555555554444",
        "5105105105105100",
        "2223003122003222",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "6011000990139424",
        "3530111333300000",
        "30569309025904",
        "38520000023237",
        "36227206271667",
        "6200000000000005",
        "6759649826438453",
        "2200000000000004",
        "8171999927660000",
        "9792030000000000",
        with_check_digit("50180000000"),  # Maestro of 12 digits
        with_check_digit("630495060000000000"),  # and of 19
        with_check_digit("18000000000000"),  # old JCB
        with_check_digit("21310000000000"),
    ],
)
def test_card_numbers_of_every_scheme_are_found(number: str) -> None:
    assert found(f"card: {number}.") == [("pan", number)]
    changed = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert found(f"card: {changed}.") == []


@pytest.mark.parametrize(
    ("text", "pan"),
    [
        ("4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111", "4111-1111-1111-1111"),
        ("3782 822463 10005", "3782 822463 10005"),
        ("4111\u00a01111\u20111111\u20131111", "4111\u00a01111\u20111111\u20131111"),
        ("4111111111111111".translate(FULL_WIDTH), "4111111111111111".translate(FULL_WIDTH)),
        ("٤١١١١١١١١١١١١١١١", "٤١١١١١١١١١١١١١١١"),
        ("卡号4111111111111111。", "4111111111111111"),
        ("card=4111111111111111&cvv=123", "4111111111111111"),
        ("x4111111111111111y", "4111111111111111"),
        ("12 4111 1111 1111 1111 12/26", "4111 1111 1111 1111"),
        ("1. 4111111111111111", "4111111111111111"),
        ("4111111111111111.25", "4111111111111111"),
        ("pan:4111111111111111\n4222", "4111111111111111"),
    ],
)
def test_card_numbers_are_found_as_people_write_them(text: str, pan: str) -> None:
    assert found(text) == [("pan", pan)]


@pytest.mark.parametrize(
    "text",
    [
        "4111  1111 1111 1111",  # two spaces
        "4111.1111.1111.1111",
        "4111 1111 1111 111",
        "0.4111111111111111",
        "41111111111111111111111",  # part of a longer number
        "1234567812345670",  # right check digit, no scheme
        "2026-11-22 18:43:57.123456",
        "1763837037123456789",  # nanoseconds since 1970
        "+49 176 1234 5678",
        "0000000000000000",
        "ISBN 978-3-16-148410-0",
        "DE89 3704 0044 0532 0130 00",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_readings_that_overlap_become_one_span() -> None:
    # Maestro of 16 digits, whose last 12 are the first of a Visa number.
    maestro = next(str(n) for n in range(5000, 5100) if luhn(f"{n}411111111111"))
    text = f"{maestro} 4111 1111 1111 1111"
    assert find(text) == [Span(0, len(text), "pan")]


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("write to bob@example.com.", "bob@example.com"),
        ("<bob.smith+tag@mail.example.co.uk>", "bob.smith+tag@mail.example.co.uk"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("'bob@example.com'", "bob@example.com"),
        ("...bob@example.com...", "bob@example.com"),
        ("mailto:bob@example.com?subject=x", "bob@example.com"),
        ("user=bob_1%x@ex-ample.com;", "bob_1%x@ex-ample.com"),
        ("BOB@EXAMPLE.COM", "BOB@EXAMPLE.COM"),
        ("bob@example.com--", "bob@example.com"),
        ("jürgen@müller.de", "jürgen@müller.de"),
        ("用户@例子.中国", "用户@例子.中国"),
        ("bob\uff20example.com", "bob\uff20example.com"),
        ("bob@xn--bcher-kva.xn--p1ai", "bob@xn--bcher-kva.xn--p1ai"),
        ("bob@1.2.example", "bob@1.2.example"),
        ("bob@example.com.4", "bob@example.com"),
        ("a@b@example.com", "b@example.com"),
        ("git@github.com:harmost/harmost", "git@github.com"),
    ],
)
def test_addresses_are_found_as_people_write_them(text: str, email: str) -> None:
    assert found(text) == [("email", email)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@x.com",
        "bob@",
        "bob@localhost",
        "bob@x",
        "bob@x.c",
        "lodash@4.17.21",
        "a @ b.com",
        "bob@.com",
        "see @bob and @alice",
        "bob@[127.0.0.1]",
        "x@1.2.3.4",
    ],
)
def test_what_is_no_address_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_an_address_of_a_card_number_is_both_the_longer_first() -> None:
    text = "4111111111111111@example.com"
    assert find(text) == [Span(0, len(text), "email"), Span(0, 16, "pan")]


@pytest.mark.parametrize(
    "unit",
    ["@", "a@", "a@a.", "1", "4 ", "4111 ", "4111-", "5018 0000 ", "a.", "a.a-", "\u00e9@", "%"],
)
def test_hostile_text_takes_linear_work(unit: str) -> None:
    # Quadratic work would take hours here; the test's own time limit is what fails then.
    for prefix in ("", "a@", "a" * 100_000):
        find(prefix + unit * (2_000_000 // len(unit)))


def test_text_of_every_width_and_with_lone_surrogates_is_read() -> None:
    for wide in ("\u00e9", "\u4e2d", "\U0001f4b3", "\ud800", "\0"):
        text = f"{wide} bob@example.com {wide} 4111111111111111 {wide}"
        assert [span.data_class for span in find(text)] == ["email", "pan"]


def test_only_text_is_read() -> None:
    for wrong in (None, b"bob@example.com", 4111111111111111):
        with pytest.raises(TypeError):
            find(wrong)  # type: ignore[arg-type]


def test_what_is_found_is_personal() -> None:
    for data_class in FOUND_CLASSES:
        assert "personal" in IMPLIED_CLASSES[data_class]
    assert with_implied(["email"]) == ["email", "personal"]
    assert with_implied(["phi"]) == ["health", "personal", "phi", "special"]
    assert with_implied(["mine"]) == ["mine"]


def test_implied_classes_are_complete() -> None:
    for data_class in IMPLIED_CLASSES:
        implied = with_implied([data_class])
        assert with_implied(implied) == implied
