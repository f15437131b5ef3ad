"""CEL's operators in plain Python, slow and obvious: what the compiled evaluator is compared with.

Values are Python's own, timestamps and durations whole nanoseconds. An error of evaluation is `Failed`.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

__all__ = ["Failed", "Moment", "Span"]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
S = 10**9
MOMENT_MIN, MOMENT_MAX = -62135596800 * S, 253402300800 * S - 1


class Failed(Exception):
    """There is no value."""


class Moment(NamedTuple):
    """A timestamp: nanoseconds since 1970."""

    ns: int


class Span(NamedTuple):
    """A duration in nanoseconds."""

    ns: int


def kind(value: object) -> str:
    return type(value).__name__


def whole(number: int) -> int:
    if not INT_MIN <= number <= INT_MAX:
        raise Failed("overflow")
    return number


def moment(ns: int) -> Moment:
    if not MOMENT_MIN <= ns <= MOMENT_MAX:
        raise Failed("range")
    return Moment(ns)


def equal(left: object, right: object) -> bool:
    numbers = ("int", "float")
    if kind(left) in numbers and kind(right) in numbers:
        return left == right  # Python compares int and float exactly
    if kind(left) != kind(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return len(left) == len(right) and all(
            any(equal(key, other) and equal(left[key], right[other]) for other in right)
            for key in left
        )
    return left == right


def less(left: object, right: object) -> bool:
    numbers = ("int", "float")
    if kind(left) != kind(right) and not (kind(left) in numbers and kind(right) in numbers):
        raise Failed("no order")
    if isinstance(left, (list, dict)) or left is None:
        raise Failed("no order")
    return left < right  # type: ignore[operator,no-any-return]


def compare(op: str, left: object, right: object) -> bool:
    match op:
        case "==":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "<":
            return less(left, right)
        case ">":
            return less(right, left)
        case "<=":
            return less(left, right) or equal(left, right)
        case _:
            return less(right, left) or equal(left, right)


def arithmetic(op: str, left: object, right: object) -> object:
    match op, left, right:
        case _, bool(), _:
            raise Failed("no overload")
        case _, _, bool():
            raise Failed("no overload")
        case _, int(), int():
            return _of_ints(op, left, right)
        case _, float(), float():
            return _of_floats(op, left, right)
        case "+", str(), str():
            return left + right
        case "+", list(), list():
            return left + right
        case "+", Moment(), Span():
            return moment(left.ns + right.ns)
        case "+", Span(), Moment():
            return moment(left.ns + right.ns)
        case "-", Moment(), Span():
            return moment(left.ns - right.ns)
        case "+", Span(), Span():
            return Span(whole(left.ns + right.ns))
        case "-", Span(), Span():
            return Span(whole(left.ns - right.ns))
        case "-", Moment(), Moment():
            return Span(whole(left.ns - right.ns))
        case _:
            raise Failed("no overload")


def _of_ints(op: str, left: int, right: int) -> int:
    match op:
        case "+":
            return whole(left + right)
        case "-":
            return whole(left - right)
        case "*":
            return whole(left * right)
    if right == 0:
        raise Failed("zero")
    quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    whole(quotient)
    return quotient if op == "/" else left - right * quotient


def _of_floats(op: str, left: float, right: float) -> float:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" if right != 0:
            return left / right
        case "/" if left == 0 or math.isnan(left):
            return math.nan
        case "/":
            return math.copysign(math.inf, left) * math.copysign(1, right)
        case _:
            raise Failed("no overload")


def negative(value: object) -> object:
    if isinstance(value, float):
        return -value
    if isinstance(value, bool) or not isinstance(value, int):
        raise Failed("no overload")
    return whole(-value)


def conjunction(parts: Iterable[Callable[[], object]], *, decisive: bool) -> bool:
    """`&&` (`decisive` false) or `||`: every part is asked, the decisive one wins over errors."""
    failed = False
    for part in parts:
        try:
            value = part()
        except Failed:
            failed = True
            continue
        if value is decisive:
            return decisive
        failed |= not isinstance(value, bool)
    if failed:
        raise Failed("undecided")
    return not decisive


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Failed("no bool")
    return value


def contains(container: object, item: object) -> bool:
    if not isinstance(container, (list, dict)):
        raise Failed("no overload")
    return any(equal(item, other) for other in container)


def index(container: object, key: object) -> object:
    if isinstance(container, dict):
        for other, value in container.items():
            if equal(other, key):
                return value
        raise Failed("no key")
    if isinstance(container, list) and isinstance(key, int) and 0 <= key < len(container):
        return container[key]
    raise Failed("no item")


def size(value: object) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise Failed("no overload")


def to_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    texts = {
        **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
        **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
    }
    if not isinstance(value, str) or value not in texts:
        raise Failed("no bool")
    return texts[value]


def to_int(value: object) -> int:
    match value:
        case bool():
            raise Failed("no overload")
        case int():
            return value
        case float():
            if math.isnan(value) or not -(2.0**63) < value < 2.0**63:
                raise Failed("range")
            return math.trunc(value)
        case str():
            text = value.strip(" \t\n\v\f\r")
            if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
                raise Failed("no int")
            return whole(int(text))
        case Moment():
            return value.ns // S
        case _:
            raise Failed("no overload")


def to_double(value: object) -> float:
    match value:
        case bool():
            raise Failed("no overload")
        case int() | float():
            return float(value)
        case str():
            text = value.strip(" \t\n\v\f\r")
            number = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
            if not re.fullmatch(
                rf"{number}|[+-]?(inf|infinity|nan)", text, re.ASCII | re.IGNORECASE
            ):
                raise Failed("no double")
            return float(text)
        case _:
            raise Failed("no overload")


def to_string(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | str():
            return str(value)
        case float():
            return _float_text(value)
        case Moment():
            return _moment_text(value)
        case Span():
            seconds, ns = divmod(abs(value.ns), S)
            return f"{'-' if value.ns < 0 else ''}{seconds}{_decimals(ns)}s"
        case _:
            raise Failed("no overload")


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    digits = next(p for p in range(1, 18) if float(f"{value:.{p - 1}e}") == value)
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    if -5 < int(power) < 6:
        return format(Decimal(f"{mantissa}e{power}"), "f") if value else mantissa
    return f"{mantissa}e{int(power):+03d}"


def _decimals(ns: int) -> str:
    if not ns:
        return ""
    text = f"{ns:09d}"
    return "." + (text[:3] if ns % 10**6 == 0 else text[:6] if ns % 1000 == 0 else text)


def _moment_text(value: Moment) -> str:
    seconds, ns = divmod(value.ns, S)
    days, of_day = divmod(seconds, 86400)
    year, month, day = _civil(days)
    clock = f"{of_day // 3600:02d}:{of_day // 60 % 60:02d}:{of_day % 60:02d}"
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}{_decimals(ns)}Z"


def _civil(days: int) -> tuple[int, int, int]:
    from datetime import date

    found = date.fromordinal(days + date(1970, 1, 1).toordinal())
    return found.year, found.month, found.day


def one_of(parts: Sequence[Callable[[], object]]) -> bool:
    return sum(truth(part()) for part in parts) == 1
