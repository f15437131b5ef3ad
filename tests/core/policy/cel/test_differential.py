"""Random conditions: ours against cel-cpp and against plain Python, on the same facts."""

import math
import struct
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import cel_cases
import cel_twin
import pytest
from cel_expr_python import cel
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmost.core.policy.cel.expression import Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.front import Environment, cel_type, fact_environment
from harmost.core.policy.cel.ir import decode, encode
from harmost.core.policy.cel.values import Duration, Timestamp
from harmost.core.policy.cel.vm import EvaluationError
from harmost.core.policy.facts import declared_facts, fact_schema

ERROR = "error"
TYPES = {name: fact.type.value for name, fact in declared_facts().items()}


@cache
def oracle() -> Any:
    return cel.NewEnv(variables={name: cel_type(kind) for name, kind in TYPES.items()})


@cache
def environment() -> Any:
    return fact_environment()


def of_ours(text: str, facts: cel_cases.Env) -> object:
    compiled = environment().compile_value(text)
    expression = Expression(text, decode(encode(compiled.node)), fact_schema())
    try:
        value = expression.program.value(fact_schema().frame(facts))
    except EvaluationError:
        return ERROR
    return plain(value)


def of_oracle(text: str, facts: cel_cases.Env) -> object:
    value = oracle().compile(text).eval(data=facts)
    if value.type().name() == "ERROR":
        return ERROR
    return plain(value.plain_value())


def of_twin(condition: cel_cases.Condition, facts: cel_cases.Env) -> object:
    try:
        return plain(condition.run(dict(facts)))
    except cel_twin.Failed:
        return ERROR


def plain(value: object) -> object:
    """One form of the three sides' values. cel-cpp rounds times to microseconds: so are all."""
    match value:
        case Timestamp(seconds, nanos):
            return "Timestamp", seconds * 10**6 + nanos // 1000
        case Duration(seconds, nanos):
            return "Duration", seconds * 10**6 + int(nanos / 1000)
        case cel_twin.Moment(ns):
            return "Timestamp", ns // 1000
        case cel_twin.Span(ns):
            seconds, nanos = divmod(abs(ns), 10**9)
            sign = -1 if ns < 0 else 1
            return "Duration", sign * seconds * 10**6 + sign * nanos // 1000
        case datetime():
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            return "Timestamp", (value - epoch) // timedelta(microseconds=1)
        case timedelta():
            return "Duration", value // timedelta(microseconds=1)
        case float():
            return "float", "nan" if math.isnan(value) else repr(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return type(value).__name__, value


def check(choices: cel_cases.Choices) -> object:
    """Our answer to one random condition, which is that of the others; "costly" where it is refused."""
    generator = cel_cases.over_declared_facts(choices)
    condition = generator.condition()
    facts = cel_cases.fact_values(choices, TYPES)
    try:
        ours = of_ours(condition.text, facts)
    except ExpressionRefused as refused:
        if "use fewer macros inside each other" not in str(refused):
            raise
        return "costly"
    said = f"{condition.text}\n{facts}"
    assert ours == of_twin(condition, facts), f"not as plain Python: {said}"
    assert ours == of_oracle(condition.text, facts), f"not as cel-cpp: {said}"
    return ours


@pytest.mark.timeout(effort(120, ci=600, nightly=7_200))
@settings(
    max_examples=effort(100, ci=1_000, nightly=10_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_found_conditions_give_what_cel_cpp_and_plain_python_give(data: st.DataObject) -> None:
    check(cel_cases.Drawn(data.draw))


@pytest.mark.timeout(effort(120, ci=600, nightly=7_200))
def test_random_conditions_give_what_cel_cpp_and_plain_python_give() -> None:
    outcomes: Counter[str] = Counter()
    seed = Random().getrandbits(48)
    count = effort(300, ci=10_000, nightly=1_000_000)
    for number in range(seed, seed + count):
        outcomes[str(check(cel_cases.seeded(number)))] += 1
    # Conditions that are nearly always the same test nothing.
    assert outcomes.pop("costly", 0) < count // 50
    assert min(outcomes.values()) > count // 20, outcomes
    assert len(outcomes) == 3  # true, false, error


SCALARS = Schema({"x": "double", "n": "int", "t": "string"}, defaults=False)
# Text of numbers, durations and timestamps, in the parts that they are made of.
PARTS = (
    *("0", "1", "7", "59", "60", "05", "12", "2009", "0001", "9999", "-", "+", ".", ":", "T", "Z"),
    *("h", "m", "s", "ms", "us", "ns", "e", "e5", " ", "-02-13", "T23:31:30", "+02:00", "Z", "inf"),
)


@cache
def scalar_programs() -> list[tuple[Expression, Any]]:
    compiler = Environment(SCALARS)
    types = dict(zip(SCALARS.names, SCALARS.types, strict=True))
    theirs = cel.NewEnv(variables={name: cel_type(kind) for name, kind in types.items()})
    sources = (
        *("string(x)", "int(x)", "string(double(n))", "double(n)", "x < double(n)", "x * x / 3.0"),
        *("int(t)", "double(t)", "bool(t)", "string(duration(t))", "duration(t)", "size(t)"),
        *("string(timestamp(n))", "n / 7 * 7 + n % 7 == n"),
    )
    return [(compiler.compile_value(source), theirs.compile(source)) for source in sources]


@pytest.mark.timeout(effort(120, ci=600, nightly=7_200))
def test_random_scalars_are_converted_as_cel_cpp_does() -> None:
    random = Random()
    for _ in range(effort(300, ci=10_000, nightly=300_000)):
        facts = {
            "x": random.choice(
                (
                    struct.unpack("d", random.randbytes(8))[0],
                    random.uniform(-1e7, 1e7),
                    random.randrange(-(10**6), 10**6) / random.choice((1, 10, 1000, 2.0**63)),
                )
            ),
            "n": random.choice(
                (random.randrange(-(2**63), 2**63), random.randrange(-(10**12), 10**12))
            ),
            "t": "".join(random.choice(PARTS) for _ in range(random.randrange(8))),
        }
        for ours, theirs in scalar_programs():
            try:
                answer = plain(ours.program.value(SCALARS.frame(facts)))
            except EvaluationError:
                answer = ERROR
            value = theirs.eval(data=facts)
            expected = ERROR if value.type().name() == "ERROR" else plain(value.plain_value())
            if expected == ("str", "-nan"):  # the sign of NaN says nothing
                expected = ("str", "nan")
            assert answer == expected, (ours.source, facts)
