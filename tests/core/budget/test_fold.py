"""A ledger that adds up passes; one number changed anywhere does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget import fold as module
from harmost.core.budget.fold import (
    FINDINGS_MAX,
    Balance,
    Finding,
    LedgerFold,
    LedgerRow,
    LentRest,
    OpenHold,
)

RESERVE, SETTLE, VOID, ADJUST = 1, 2, 3, 4


def row(sequence: int, kind: int, key: str, **fields: Any) -> LedgerRow:
    values = {"tenant": "a", "model": "m", "held": (0, 0, 0), "settled": (0, 0, 0)}
    values |= {"debt": (0, 0, 0), "counters": (1, 2)}
    return LedgerRow(sequence, kind, key, **(values | fields))


def sound() -> tuple[list[LedgerRow], list[Balance], list[OpenHold], list[LentRest]]:
    """Two levels in money and tokens: one settled, one void, one above its hold, one open, one by
    lease, one corrected."""
    rows = [
        row(1, RESERVE, "a", held=(100, 10, 1)),
        row(2, SETTLE, "a", held=(-100, -10, -1), settled=(60, 6, 1)),
        row(3, RESERVE, "b", held=(50, 5, 1)),
        row(4, VOID, "b", held=(-50, -5, -1)),
        row(5, RESERVE, "c", held=(10, 1, 1)),
        row(6, SETTLE, "c", held=(-10, -1, -1), settled=(15, 1, 1), debt=(5, 0, 0)),
        row(7, RESERVE, "d", held=(7, 7, 1)),
        row(8, SETTLE, "e", settled=(20, 2, 1)),
        row(9, ADJUST, "k", settled=(-15, 0, 0), counters=(1,)),
    ]
    balances = [
        Balance(1, 1, "budget `x`", settled=80, held=7, debt=5, leased=30, suspense=4),
        Balance(2, 2, "budget `y`", settled=9, held=7, debt=0),
    ]
    lent = [LentRest(1, 10, False), LentRest(1, 20, False), LentRest(1, 4, True)]
    return rows, balances, [OpenHold("d", 7)], lent


def findings(
    rows: list[LedgerRow],
    balances: list[Balance],
    holds: list[OpenHold],
    lent: list[LentRest],
) -> list[Finding]:
    fold = LedgerFold()
    for one in rows:
        fold.add(one)
    fold.close(balances, holds, lent)
    return fold.findings


def test_a_ledger_that_adds_up_has_no_finding() -> None:
    assert findings(*sound()) == []


def test_it_says_what_it_has_read() -> None:
    fold = LedgerFold()
    for one in sound()[0]:
        fold.add(one)
    assert (fold.rows, fold.attempts, fold.usd_nanos) == (9, 3, 95)


def test_an_empty_ledger_adds_up() -> None:
    assert findings([], [Balance(1, 1, "b", 0, 0, 0)], [], []) == []


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (0, {"held": (99, 10, 1)}, "row 2 settles attempt `a` otherwise than row 1 reserved it"),
        (0, {"settled": (1, 0, 0)}, "row 1 reserves, and its amounts do not"),
        (1, {"settled": (61, 6, 1)}, "budget `x` says settled 80, rows 1 to 9 add up to 81: -1"),
        (1, {"settled": (60, 6, 2)}, "row 2 closes `a` with impossible amounts"),
        (1, {"settled": (-60, 6, 1)}, "row 2 closes `a` with impossible amounts"),
        (1, {"counters": (1,)}, "row 2 settles attempt `a` otherwise than row 1 reserved it"),
        (1, {"key": "z"}, "row 2 settles attempt `z`, which is not open"),
        (3, {"settled": (1, 0, 0)}, "row 4 closes `b` with impossible amounts"),
        (3, {"key": "z"}, "row 4 voids attempt `z`, which is not open"),
        (5, {"debt": (4, 0, 0)}, "row 6 closes `c` with impossible amounts"),
        (6, {"key": "a2"}, "attempt `a2`, reserved by row 7, neither closed nor is open"),
        (7, {"held": (-1, 0, 0)}, "row 8 settles attempt `e`, which is not open"),
        (7, {"counters": (1, 2, 3)}, "counter 3, of row 8, has no balance"),
        (7, {"counters": (1, 2, 2)}, "row 8 names a counter twice"),
        (8, {"settled": (-15, 1, 0)}, "row 9 corrects more, or less, than one balance"),
        (8, {"debt": (0, 1, 0)}, "row 9 corrects more, or less, than one balance"),
        (8, {"kind": 9}, "row 9 is of no known kind: `9`"),
    ],
)
def test_a_changed_row_is_named(number: int, change: dict[str, Any], message: str) -> None:
    rows, *rest = sound()
    rows[number] = rows[number]._replace(**change)
    assert message in [found.message for found in findings(rows, *rest)]


@pytest.mark.parametrize("number", range(9))
def test_a_missing_row_is_named(number: int) -> None:
    rows, *rest = sound()
    del rows[number]
    found = findings(rows, *rest)
    assert found
    if number < 8:
        assert found[0] == Finding(number + 1, f"row {number + 1} is missing")


def test_a_row_that_stands_twice_is_named() -> None:
    rows, *rest = sound()
    rows.insert(2, rows[1])
    assert Finding(2, "row 3 stands twice, or out of order") in findings(rows, *rest)


@pytest.mark.parametrize("field", ["settled", "held", "debt", "leased", "suspense"])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_changed_balance_is_named(field: str, off: int) -> None:
    rows, balances, *rest = sound()
    balances[0] = balances[0]._replace(**{field: getattr(balances[0], field) + off})
    (found,) = findings(rows, balances, *rest)
    assert f"budget `x` says {field}" in found.message
    assert found.message.endswith(f"{off:+d}")


def test_an_open_hold_that_no_row_reserved_is_named() -> None:
    rows, balances, holds, lent = sound()
    (found,) = findings(rows, balances, [*holds, OpenHold("ghost", 3)], lent)
    assert found == Finding(3, "attempt `ghost` is said to be open and is not")


def test_a_lease_of_no_balance_is_named() -> None:
    rows, balances, holds, lent = sound()
    (found,) = findings(rows, balances, holds, [*lent, LentRest(9, 1, False)])
    assert "counter 9 is lent to Routers and has no balance" in found.message


def test_findings_are_bounded_and_all_counted() -> None:
    fold = LedgerFold()
    for number in range(FINDINGS_MAX + 50):
        fold.add(row(number + 1, 9, "x"))
    assert (len(fold.findings), fold.found) == (FINDINGS_MAX, FINDINGS_MAX + 50)


@given(st.data())
def test_no_change_of_one_number_goes_unseen(data: st.DataObject) -> None:
    rows, *rest = sound()
    number = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(["held", "settled", "debt"]))
    unit = data.draw(st.integers(0, 1))
    off = data.draw(st.integers(-(10**9), 10**9).filter(bool))
    amounts = list(getattr(rows[number], field))
    amounts[unit] += off
    rows[number] = rows[number]._replace(**{field: tuple(amounts)})
    # Tokens of a correction in money are on no counter in tokens; of all else each unit has one.
    assert findings(rows, *rest)


def test_every_public_name_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
