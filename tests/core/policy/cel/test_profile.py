"""The page about conditions says what the compiler does."""

import re
from pathlib import Path
from typing import get_args

import pytest

from harmost.core import limits
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import ExpressionRefused
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.profile import OVERLOADS

PAGE = (Path(__file__).parents[4] / "docs" / "cel.md").read_text(encoding="utf-8")
ENVIRONMENT = fact_environment()


def test_the_page_names_every_function_macro_and_operator() -> None:
    named = set(re.findall(r"`([^`]+)`", PAGE))
    for word in (*get_args(ir.Function), *get_args(ir.Macro)):
        assert word in named, word
    for sign in (*get_args(ir.Comparison), *get_args(ir.Operator)):
        assert sign in named, sign


def test_the_page_has_the_bounds_as_they_are() -> None:
    said = dict(re.findall(r"\| `(CEL_\w+)` \| ([\d,]+) \|", PAGE))
    assert said
    for name, number in said.items():
        assert int(number.replace(",", "")) == getattr(limits, name), name


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('b"a" == b"a"', "write a string"),
        ("1u == 1u", "write an int"),
        ('uint("1") == uint("1")', "write an int"),
        ("dyn(1) == dyn(1)", "compare values of one type"),
        ("type(1) == type(2)", "leave it out"),
        ("int == int", "leave it out"),
        ("google.protobuf.BoolValue{} == null", "write a map"),
        ("timestamp(0).getFullYear() == 1970", "compare the time"),
        ("timestamp(0).getDayOfMonth('UTC') == 1", "compare the time"),
        ("duration('1h').getMinutes() == 60", "compare the time"),
        ("labels.?env == labels.?env", "unsupported syntax"),
        ("[?labels.?env] == []", "unsupported syntax"),
        ("data.classes.exists(i, v, true)", "not known"),
        ("cel.bind(x, 1, x == 1)", "not known"),
        ("subject.region.lowerAscii() == ''", "not known"),
        ("math.greatest(1, 2) == 2", "not known"),
        ("string(b'a') == 'a'", "write a string"),
        ("int(duration('1h')) == 3600", "`int` is outside the profile: "),
        ("duration(1) == duration(2)", "`duration` is outside the profile: "),
        ("b'a' + b'b' == b''", "`add_bytes` is outside the profile: write a string"),
    ],
)
def test_what_is_outside_is_refused_with_what_to_write(source: str, said: str) -> None:
    with pytest.raises(ExpressionRefused) as refused:
        ENVIRONMENT.compile(source)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        *("true", "null == null", '{"a": 1, 7: 2}["a"] == 1', 'r"\\d" == "\\\\d"', "0x1F == 31"),
        'timestamp("2026-01-31T00:00:00Z") + duration("1h30m") > timestamp(0)',
        '"env" in labels && labels["env"] == "prod" || has(labels.team)',
        'data.classes.exists(c, c in ["ssn", "mrn"]) ? 7 % 2 == 1 : [1] + [2] == [1, 2]',
        'model.name.startsWith("gpt-") && size(model.capabilities.filter(c, c != "")) > 0',
    ],
)
def test_what_the_page_shows_compiles(source: str) -> None:
    ENVIRONMENT.compile(source)


def test_no_overload_of_the_profile_is_of_a_type_outside_it() -> None:
    for overload in OVERLOADS:
        assert not {"uint64", "bytes", "dyn", "type"} & set(overload.split("_")), overload
