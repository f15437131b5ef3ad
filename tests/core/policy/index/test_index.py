"""Rows of bits by value, against the tests read one by one; and what is kept of values seen."""

from collections.abc import Callable
from random import Random

import pytest

from harmost.core.limits import POLICY_ROWS_BYTES_MAX, POLICY_VALUES_MAX
from harmost.core.policy.index.index import Index
from harmost.core.policy.index.predicates import Asked

TEXTS = ("", "a", "b", "ab", "é")
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
NUMBERS = (INT_MIN, -1, 0, 1, 2, 3, 10, INT_MAX)


def never(value: object) -> int:
    raise AssertionError(value)


def asked_of(
    lanes: list[int],
    *,
    values: frozenset[str] | None = None,
    ranges: tuple[tuple[int, int], ...] = (),
    negated: bool = False,
    unary: Callable[[object], int] = never,
) -> Asked:
    return Asked(values, ranges, negated, unary, lanes)


def truth(kind: str, entry: str | None, test: Asked, fact: object) -> int:
    """What a test says of a fact: 1, 0, or -1 for an error."""
    if kind == "elements":
        said = int(test.values <= set(fact))  # type: ignore[operator,call-overload]
    elif kind == "number":
        said = int(any(first <= fact <= last for first, last in test.ranges))  # type: ignore[operator]
    elif kind == "entry":
        if test.values is None:
            said = int(entry in fact)  # type: ignore[operator]
        elif entry not in fact:  # type: ignore[operator]
            return -1
        else:
            said = int(fact[entry] in test.values)  # type: ignore[index]
    elif kind == "value":
        said = int(fact in test.values)  # type: ignore[operator]
    else:
        said = test.unary(fact)
        if said < 0:
            return -1
    return 1 - said if test.negated else said


def starts_with_a(value: object) -> int:
    return -1 if value == "b" else int(str(value).startswith("a"))


def random_keys(dice: Random, lanes: int) -> list[tuple[str, str, str | None, list[Asked]]]:
    def some() -> list[int]:
        return [lane for lane in range(lanes) if dice.random() < 0.3]

    def sets() -> list[Asked]:
        # Of one key, a lane has one plain test for values.
        cut = dice.randint(0, lanes)
        plain = [
            asked_of(part, values=frozenset(dice.sample(TEXTS, 2)))
            for part in (list(range(cut)), list(range(cut, lanes)))
        ]
        return [*plain, asked_of(some(), values=frozenset(dice.sample(TEXTS, 2)), negated=True)]

    elements = [
        asked_of(some(), values=frozenset((dice.choice(TEXTS),)), negated=dice.random() < 0.5)
        for _ in range(4)
    ]
    ranges = [
        asked_of(
            some(),
            ranges=tuple(tuple(sorted(dice.choices(NUMBERS, k=2))) for _ in range(2)),  # type: ignore[misc]
            negated=dice.random() < 0.5,
        )
        for _ in range(4)
    ]
    present = [asked_of(some(), negated=negated) for negated in (False, True)]
    folded = [asked_of(some(), negated=negated, unary=starts_with_a) for negated in (False, True)]
    keys: list[tuple[str, str, str | None, list[Asked]]] = [
        ("value", "text", None, sets()),
        ("fold_string", "text", None, folded),
        ("entry", "map", "k", [*sets(), *present]),
        ("elements", "list", None, elements),
        ("number", "number", None, ranges),
    ]
    return [key for key in keys if dice.random() < 0.7]


def random_request(dice: Random) -> dict[str, object]:
    return {
        "text": dice.choice((*TEXTS, "other")),
        "map": {key: dice.choice(TEXTS) for key in ("k", "l") if dice.random() < 0.6},
        "list": dice.choices((*TEXTS, "other"), k=dice.randint(0, 3)),
        "number": dice.choice((*NUMBERS, 5, INT_MAX - 1)),
    }


@pytest.mark.parametrize("lanes", [0, 1, 63, 64, 65, 513, 1_300])
def test_the_lanes_that_survive_are_those_that_no_test_refutes(lanes: int) -> None:
    for seed in range(20):
        dice = Random(f"{lanes} {seed}")
        keys = random_keys(dice, lanes)
        lower = [lane for lane in range(lanes) if dice.random() < 0.5]
        index = Index(lanes, lower, keys)
        for _ in range(10):
            request = random_request(dice)
            refuted: set[int] = set()
            for kind, fact, entry, tests in keys:
                for test in tests:
                    said = truth(kind, entry, test, request[fact])
                    if said < 1:
                        refuted.update(test.lanes if said == 0 else set(test.lanes) & set(lower))
            expected = [lane for lane in range(lanes) if lane not in refuted]
            assert index.surviving(request) == expected
            assert not index.erred


def test_a_fact_that_is_absent_is_empty() -> None:
    keys = [
        ("value", "text", None, [asked_of([0], values=frozenset(("",)))]),
        ("number", "number", None, [asked_of([1], ranges=((1, 9),))]),
        ("elements", "list", None, [asked_of([2], values=frozenset(("a",)))]),
        ("entry", "map", "k", [asked_of([3])]),
    ]
    assert Index(5, [], keys).surviving({}) == [0, 4]


@pytest.mark.parametrize(
    "request_facts",
    [
        {"text": 1},
        {"number": True},
        {"number": "1"},
        {"number": 2**63},
        {"list": ("a",)},
        {"list": ["a", 1]},
        {"list": [[]]},
        {"map": []},
        {"map": {"k": 1}},
        {"flag": 1},
        {"items": [["a"]]},
    ],
)
def test_a_fact_of_another_type_is_noticed(request_facts: dict[str, object]) -> None:
    def yes(value: object) -> int:
        return 1

    index = Index(
        1,
        [],
        [
            ("value", "text", None, [asked_of([0], values=frozenset(("a",)))]),
            ("number", "number", None, [asked_of([0], ranges=((1, 9),))]),
            ("elements", "list", None, [asked_of([0], values=frozenset(("a",)))]),
            ("entry", "map", "k", [asked_of([0], values=frozenset(("a",)))]),
            ("fold_bool", "flag", None, [asked_of([0], unary=yes)]),
            ("fold_strings", "items", None, [asked_of([0], unary=yes)]),
        ],
    )
    index.surviving(request_facts)
    assert index.erred
    index.surviving({})
    assert not index.erred


def test_a_value_is_asked_about_once_and_the_values_kept_are_bounded() -> None:
    asked: list[object] = []

    def unary(value: object) -> int:
        asked.append(value)
        return int(str(value).endswith("7"))

    index = Index(1, [], [("fold_string", "text", None, [asked_of([0], unary=unary)])])
    for _ in range(3):
        assert index.surviving({"text": "17"}) == [0]
    assert asked == ["17"]
    for number in range(10_000):
        assert index.surviving({"text": str(number)}) == [0] * (number % 10 == 7)
    assert len(asked) + 1 >= 10_000
    before = len(asked)
    index.surviving({"text": "9999"})
    index.surviving({"text": "0"})
    assert len(asked) == before + (POLICY_VALUES_MAX < 10_000)


def test_rows_of_ten_thousand_values_stay_within_their_bound() -> None:
    lanes = 20_000
    tests = [asked_of([number], values=frozenset((str(number),))) for number in range(lanes)]
    index = Index(lanes, [], [("value", "text", None, tests)])
    rows_kept_max = POLICY_ROWS_BYTES_MAX // index.row_bytes
    assert 0 < rows_kept_max < 10_000
    for number in range(10_000):
        assert index.surviving({"text": str(number)}) == [number]
    assert index.surviving({"text": "0"}) == [0]
