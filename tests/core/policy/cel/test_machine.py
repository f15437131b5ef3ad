"""What CEL's rules say of one operator at a time, where random conditions seldom go."""

import math
import tracemalloc

import pytest

from harmost.core.limits import CEL_ITEMS_MAX
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.front import Environment
from harmost.core.policy.cel.values import Duration, Timestamp
from harmost.core.policy.cel.vm import EvaluationError, Program

SCHEMA = Schema(
    {
        "n": "int",
        "real": "double",
        "text": "string",
        "flag": "bool",
        "items": "list(string)",
        "table": "map(string,int)",
        "when": "timestamp",
        "span": "duration",
        "mixed": "list(dyn)",
    },
    defaults=False,
)
ENVIRONMENT = Environment(SCHEMA)
BIG, SMALL = 2**63 - 1, -(2**63)


def value(source: str, **facts: object) -> object:
    return ENVIRONMENT.compile_value(source).program.value(SCHEMA.frame(facts))


def error(source: str, **facts: object) -> str:
    with pytest.raises(EvaluationError) as raised:
        value(source, **facts)
    return str(raised.value)


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        ("n + 1", {"n": BIG}),
        ("n - 1", {"n": SMALL}),
        ("n * 2", {"n": 2**62}),
        ("n * -1", {"n": SMALL}),
        ("-n", {"n": SMALL}),
        ("n / -1", {"n": SMALL}),
        ("n % -1", {"n": SMALL}),
        ("int(real)", {"real": 2.0**63}),
        ("int(real)", {"real": -(2.0**63)}),
        ("int(real)", {"real": math.nan}),
    ],
)
def test_integers_never_wrap(source: str, facts: dict[str, object]) -> None:
    assert error(source, **facts) == "integer overflow"


def test_integers_reach_their_bounds() -> None:
    assert value("n + 1", n=BIG - 1) == BIG
    assert value("n - 1", n=SMALL + 1) == SMALL
    assert value("n * 2", n=-(2**62)) == SMALL
    assert value('int("-9223372036854775808")') == SMALL
    assert value("int(real)", real=math.nextafter(2.0**63, 0)) == 2**63 - 1024


def test_division_truncates_and_the_remainder_has_the_sign_of_the_dividend() -> None:
    for left in (-7, -6, 6, 7):
        for right in (-3, 3):
            assert value(f"n / ({right})", n=left) == math.trunc(left / right)
            assert value(f"n % ({right})", n=left) == math.fmod(left, right)


def test_int_and_double_compare_exactly_where_a_double_cannot_tell() -> None:
    for op, expected in (("==", False), ("<", False), (">", True), ("!=", True)):
        source = f"mixed.all(x, x {op} 9007199254740992.0)"
        assert value(source, mixed=[9007199254740993]) is expected
    assert value("mixed.all(x, x < 9223372036854775808.0)", mixed=[BIG]) is True
    assert value("mixed.all(x, x >= -9223372036854775808.0)", mixed=[SMALL]) is True


def test_nan_is_in_no_order_and_equal_to_nothing() -> None:
    for op in ("==", "<", "<=", ">", ">="):
        assert value(f"real {op} real", real=math.nan) is False
        assert value(f"mixed.exists(x, x {op} real)", real=math.nan, mixed=[1]) is False
    assert value("real != real", real=math.nan) is True
    assert value("[real] == [real]", real=math.nan) is False


def test_division_of_doubles_by_zero_is_infinite() -> None:
    assert value("real / 0.0", real=1.0) == math.inf
    assert value("real / -0.0", real=1.0) == -math.inf
    result = value("real / 0.0", real=0.0)
    assert isinstance(result, float)
    assert math.isnan(result)


def test_strings_are_ordered_and_counted_by_code_point() -> None:
    # U+FFFD comes after U+1D11E in UTF-16, before it in code points and in UTF-8.
    assert value("text < '\U0001d11e'", text="\ufffd") is True
    assert value("size(text)", text="a\U0001d11ee\u0301") == 4
    assert value("text < 'ab'", text="a") is True
    assert value("text == 'a'", text="a\0") is False
    assert value("text < 'a\\u0000'", text="a") is True
    assert value("size(text)", text="a\0b") == 3


@pytest.mark.parametrize(
    ("text", "part", "within"),
    [
        ("aab", "ab", True),
        ("aaab", "aab", True),
        ("ab", "abc", False),
        ("", "", True),
        ("x", "", True),
    ],
)
def test_contains_finds_a_part_after_false_starts(text: str, part: str, within: bool) -> None:
    assert value(f"text.contains('{part}')", text=text) is within
    assert value(f"text.endsWith('{part}')", text=text) is text.endswith(part)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("false && 1/0 == 1", False),
        ("1/0 == 1 && false", False),
        ("true || 1/0 == 1", True),
        ("1/0 == 1 || true", True),
        ("1/0 == 1 || 2/0 == 1 || true", True),
        ("[0, 1].exists(x, 1/x == 1)", True),
        ("[0, 1].all(x, 1/x == 2)", False),
        ("true ? true : 1/0 == 1", True),
        ("[1/1, 0].exists(x, x == 1) ? true : 1/0 == 1", True),
    ],
)
def test_an_error_is_lost_where_another_operand_decides(source: str, answer: bool) -> None:
    assert value(source) is answer


@pytest.mark.parametrize(
    "source",
    [
        "true && 1/0 == 1",
        "1/0 == 1 && true",
        "false || 1/0 == 1",
        "1/0 == 1 ? true : true",
        "[0, 1].all(x, 1/x == 1)",
        "[0, 1].exists(x, 1/x == 2)",
        "[0, 1, 1].exists_one(x, 1/x == 1)",
        "[0, 1].filter(x, 1/x == 1) == []",
        "[0, 1].map(x, 1/x) == []",
        "!(1/0 == 1)",
        "1/0 in [1]",
        "1 in [1/0]",
        "{1: 1/0} == {1: 1}",
        "[1/0] == [1]",
    ],
)
def test_an_error_is_kept_where_nothing_decides(source: str) -> None:
    assert error(source) == "division by zero"


def test_the_first_error_is_the_one_that_is_told() -> None:
    assert error("n / 0 == 1 && table.k == 1", n=1, table={}) == "division by zero"
    assert error("table.k == 1 && n / 0 == 1", n=1, table={}) == "no such key: `k`"


@pytest.mark.parametrize(
    ("source", "facts", "said"),
    [
        ("table.k == 1", {"table": {}}, "no such key: `k`"),
        ("table[text] == 1", {"table": {}, "text": "x" * 1000}, "no such key: `" + "x" * 60 + "`"),
        ("items[n] == ''", {"items": ["a"], "n": 1}, "index out of range"),
        ("items[n] == ''", {"items": ["a"], "n": -1}, "index out of range"),
        ("n % 0 == 1", {"n": 1}, "modulus by zero"),
        ("n == 1", {}, "`n` has no value"),
        ("n == 1", {"n": "1"}, "`n` has a value of another type than int"),
        ("n == 1", {"n": True}, "`n` has a value of another type than int"),
        ("n == 1", {"n": 2**63}, "`n` has a value of another type than int"),
        ("text == ''", {"text": "\ud800"}, "`text` has a value of another type than string"),
        ("items == []", {"items": [1]}, "`items` has a value of another type than list(string)"),
        (
            "table == {}",
            {"table": {"a": "b"}},
            "`table` has a value of another type than map(string,int)",
        ),
        ("{n: 1, 1: 2} == {}", {"n": 1}, "repeated key"),
        ("int(text) == 1", {"text": "x"}, "text or number cannot be converted"),
        (
            "timestamp(n) < when",
            {"n": 10**12, "when": Timestamp(0)},
            "timestamp or duration out of range",
        ),
        ("mixed.all(x, x < 1)", {"mixed": ["a"]}, "no operator or function fits these types"),
        ("mixed.all(x, x)", {"mixed": ["a"]}, "no operator or function fits these types"),
        ("mixed[0].matches('a')", {"mixed": [1]}, "no operator or function fits these types"),
    ],
)
def test_errors_say_what_is_wrong(source: str, facts: dict[str, object], said: str) -> None:
    assert error(source, **facts) == said


def test_a_condition_that_gives_no_bool_is_an_error() -> None:
    program = Program(ir.Const("int", 1), SCHEMA)
    assert program.evaluate(SCHEMA.frame({})) == (False, "the value is no bool")


def test_times_are_added_and_compared_to_the_nanosecond() -> None:
    start = Timestamp(0, 999_999_999)
    assert value("when + duration('1ns')", when=start) == Timestamp(1)
    assert value("when - duration('1s')", when=start) == Timestamp(-1, 999_999_999)
    assert value("when - timestamp(0)", when=Timestamp(-1, 500_000_000)) == Duration(
        0, -500_000_000
    )
    assert value("span + duration('-1ns')", span=Duration(1)) == Duration(0, 999_999_999)
    assert value("duration('-1.5s') < duration('-1.4s')") is True
    assert value("when == timestamp('1970-01-01T00:00:00.999999999Z')", when=start) is True


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2000-02-29T00:00:00Z", Timestamp(951782400)),
        ("1900-03-01T00:00:00Z", Timestamp(-2203891200)),
        ("2009-02-13T23:31:30+02:00", Timestamp(1234560690)),
        ("2009-02-13T23:31:30.5-02:30", Timestamp(1234576890, 500_000_000)),
        ("2009-02-13t23:31:30.123456789123z", Timestamp(1234567890, 123456789)),
    ],
)
def test_timestamps_are_read_from_rfc_3339(text: str, moment: Timestamp) -> None:
    assert value(f"timestamp('{text}')") == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2009-02-13",
        "2009-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2009-13-01T00:00:00Z",
        "2009-00-01T00:00:00Z",
        "2009-02-13T24:00:00Z",
        "2009-02-13T23:60:00Z",
        "2009-02-13T23:31:60Z",
        "2009-02-13T23:31:30",
        "2009-02-13T23:31:30.Z",
        "2009-02-13T23:31:30ZZ",
        "2009-02-13T23:31:30+24:00",
        "2009-02-13T23:31:30+0200",
        "2009-02-13 23:31:30Z",
        "+009-02-13T23:31:30Z",
        "2009-02-13T23:31:30.5",
    ],
)
def test_what_is_no_timestamp_is_an_error(text: str) -> None:
    assert error(f"timestamp('{text}')") == "text or number cannot be converted"


def test_every_day_is_written_and_read_back() -> None:
    days = [*range(-1_000, 1_000, 7), *range(-719_162, 2_932_897, 20_011), 2_932_896]
    for seconds in (day * 86_400 + 86_399 for day in days):
        text = value("string(when)", when=Timestamp(seconds))
        assert value("int(timestamp(text))", text=text) == seconds


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0", Duration(0)),
        ("-0.5s", Duration(0, -500_000_000)),
        ("1h1m1s1ms1us1ns", Duration(3661, 1_001_001)),
        ("1.5h", Duration(5400)),
        ("0.000000001h", Duration(0, 3600)),
        ("0.1234567891234567s", Duration(0, 123456789)),
        ("1500ms", Duration(1, 500_000_000)),
        (".5s", Duration(0, 500_000_000)),
        ("315576000000s", Duration(315576000000)),
        ("9223372036854775799ns", Duration(9223372036, 854775799)),
    ],
)
def test_durations_are_read(text: str, span: Duration) -> None:
    assert value(f"duration('{text}')") == span


@pytest.mark.parametrize(
    "text", ["", "-", "1", "s", ".s", "1d", "1h 1m", "--1s", "1s-", "1e3s", "1" * 40 + "s", "1m1"]
)
def test_what_is_no_duration_is_an_error(text: str) -> None:
    assert error(f"duration('{text}')") == "text or number cannot be converted"


@pytest.mark.parametrize("text", ["315576000001s", "-87660001h", "99999999999999h"])
def test_a_duration_of_more_than_ten_thousand_years_is_out_of_range(text: str) -> None:
    assert error(f"duration('{text}')") == "timestamp or duration out of range"


def test_sums_of_durations_stay_within_64_bits_of_nanoseconds() -> None:
    most = Duration(9223372036, 854775807)
    assert value("span - duration('1ns')", span=most) == Duration(9223372036, 854775806)
    assert error("span + duration('1ns')", span=most) == "timestamp or duration out of range"
    least = Duration(-9223372036, -854775808)
    assert value("span + duration('0s')", span=least) == least
    assert error("span - duration('1ns')", span=least) == "timestamp or duration out of range"


def test_too_many_items_are_an_error_that_nothing_absorbs() -> None:
    many = ["a"] * (CEL_ITEMS_MAX + 1)
    assert error("items.all(x, x == 'a') || true", items=many) == "evaluation takes too many steps"
    assert value("items.all(x, x == 'a')", items=many[1:]) is True


def test_too_much_memory_is_an_error_that_nothing_absorbs() -> None:
    long = "a" * 200_000
    source = "text + text + text + text + text + text == '' || true"
    assert error(source, text=long) == "evaluation takes too much memory"
    assert value("text + text == ''", text=long) is False
    source = "items.map(x, items + items).size() > 0 || true"
    assert error(source, items=["a"] * 1_000) == "evaluation takes too much memory"


def test_memory_is_given_back_after_each_run() -> None:
    expression = ENVIRONMENT.compile("(text + text).size() > 0")
    frame = SCHEMA.frame({"text": "a" * 100_000})
    for _ in range(100):  # 20 MB in all, 1 MB allowed
        assert expression.holds(frame) == (True, "")


def test_a_usual_condition_allocates_nothing() -> None:
    expression = ENVIRONMENT.compile(
        "n > 3 && text.startsWith('a') && 'b' in items && table['k'] < n"
    )
    frame = SCHEMA.frame({"n": 4, "text": "abc", "items": ["a", "b"], "table": {"k": 1}})
    assert expression.holds(frame) == (True, "")
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for _ in range(1_000):
        expression.holds(frame)
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    grown = [each for each in after.compare_to(before, "filename") if each.count_diff > 100]
    assert grown == []


def test_keys_of_a_map_are_told_apart_by_type() -> None:
    assert value("{1: 'a', true: 'b', '1': 'c'}[true]") == "b"
    assert value("{1: 'a', true: 'b', '1': 'c'}.size()") == 3
    assert value("mixed.map(x, {1: 'a', true: 'b'}[x])", mixed=[1, 1.0, True]) == ["a", "a", "b"]
    assert error("{1: 'a', 1: 'b'} == {}") == "repeated key"
    assert error("{true: 1, n == 1: 2} == {}", n=1) == "repeated key"
    assert error("mixed.map(x, {x: 1}) == []", mixed=[1.5]) == "unsupported type of key"


def test_a_macro_inside_a_macro_has_its_own_item() -> None:
    source = "[1, 2].all(x, [10, 20].all(y, [x].all(x, x < y) && x < 3))"
    assert value(source) is True
    assert value("[1, 2].map(x, [x, x * 10].map(x, x + 1))") == [[2, 11], [3, 21]]
    assert value("[[1], [2]].map(x, x.map(y, [x[0], y]))") == [[[1, 1]], [[2, 2]]]


def test_named_expressions_are_put_in_wherever_they_stand() -> None:
    inner = ENVIRONMENT.compile("items.exists(x, x == text)")
    outer = Environment(SCHEMA, named={"v.known": inner}).compile(
        "items.all(x, v.known && x != '') && [1].all(v, v == 1)"
    )
    assert outer.holds_for({"items": ["a"], "text": "a"}) == (True, "")
    assert outer.holds_for({"items": ["a"], "text": "b"}) == (False, "")
    assert outer.names == {"items", "text"}


def test_named_expressions_cannot_grow_without_end() -> None:
    environment = ENVIRONMENT
    with pytest.raises(ExpressionRefused, match="more than"):
        for level in range(64):
            before = f"v{level - 1}" if level else "n"
            doubled = environment.compile_value(f"{before} + {before}")
            environment = Environment(SCHEMA, named={f"v{level}": doubled})


def test_a_program_runs_on_frames_of_its_schema_only() -> None:
    expression = ENVIRONMENT.compile("n == 1")
    other = Schema({"n": "int"}, defaults=False)
    with pytest.raises(ValueError, match="another schema"):
        expression.holds(other.frame({"n": 1}))
    with pytest.raises(TypeError):
        expression.program.evaluate(None)  # type: ignore[arg-type]
