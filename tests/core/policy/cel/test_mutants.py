"""Seeded bugs in the compiler and the evaluator of conditions: the tests find every one.

Each is a change of a line or two in a copy of core, which is built and tested: the tests must fail on it.
A control, the copy as it is, must pass.
"""

import shutil
from pathlib import Path

import pytest
from effort import effort
from mutants import ROOT, Mutant, run_tests, seeded

POLICY = "harmost/core/policy"
HERE = Path(__file__).parent
# What runs on a copy: the quick ones that say what a condition means.
TESTS = [
    HERE / f"test_{name}.py" for name in ("machine", "conformance", "ir", "front", "differential")
]

MUTANTS = {
    "negation of a bool is lost": Mutant(
        f"{POLICY}/cel/machine.pyx",
        "return of_bool(not value.of.number) if",
        "return of_bool(value.of.number) if",
    ),
    "sums of integers wrap": Mutant(
        f"{POLICY}/cel/operate.pyx",
        "overflows = add_overflows(left, right, &result)",
        "overflows = add_overflows(left, right, &result) and False",
    ),
    "or does not absorb errors": Mutant(
        f"{POLICY}/cel/machine.pyx",
        "        elif error.kind != ERROR:\n            error = value if value.kind == ERROR else"
        " failure(NO_OVERLOAD)\n    return error if error.kind == ERROR else of_bool(not decisive)\n"
        "\n\ncdef Value _chosen",
        "        else:\n            return value\n    return of_bool(not decisive)\n"
        "\n\ncdef Value _chosen",
    ),
    "has is inverted": Mutant(
        f"{POLICY}/cel/machine.pyx",
        "of_bool(find(&value, &step.constant) != NULL)",
        "of_bool(find(&value, &step.constant) == NULL)",
    ),
    "strings are counted in bytes": Mutant(
        f"{POLICY}/cel/value.pyx", "(text.of.text[index] & 0xC0) != 0x80", "1"
    ),
    "strings of one prefix are equal": Mutant(
        f"{POLICY}/cel/value.pyx",
        "return (left.size > right.size) - (left.size < right.size)",
        "return 0",
    ),
    "less is less or equal": Mutant(
        f"{POLICY}/cel/operate.pyx", "return of_bool(found < 0)", "return of_bool(found <= 0)"
    ),
    "integers are compared as doubles": Mutant(
        f"{POLICY}/cel/value.pyx",
        "    if number != whole:\n        return 1 if number > whole else -1\n",
        "    return (<double>number > real) - (<double>number < real)\n",
    ),
    "the remainder has the sign of the divisor": Mutant(
        f"{POLICY}/cel/operate.pyx", "else left % right", "else (left % right + right) % right"
    ),
    "the index of a list may be its size": Mutant(
        f"{POLICY}/cel/value.pyx",
        "if 0 <= index < container.size",
        "if 0 <= index <= container.size - (index < 0)",
    ),
    "a missing key is null": Mutant(
        f"{POLICY}/cel/value.pyx",
        "            missing.of.text, missing.size = key.of.text, key.size\n        return missing",
        "            missing.of.text, missing.size = key.of.text, key.size\n        return of_items(NONE, NULL, 0)",
    ),
    "exists stops at the first item": Mutant(
        f"{POLICY}/cel/machine.pyx",
        "            if value.of.number == decisive:\n                return value\n        elif error.kind != ERROR:"
        "\n            error = value if value.kind == ERROR else failure(NO_OVERLOAD)\n    return error if"
        " error.kind == ERROR else of_bool(not decisive)\n\n\ncdef Value _one",
        "            return value\n        elif error.kind != ERROR:"
        "\n            error = value if value.kind == ERROR else failure(NO_OVERLOAD)\n    return error if"
        " error.kind == ERROR else of_bool(not decisive)\n\n\ncdef Value _one",
    ),
    "the item of an outer macro is that of the inner": Mutant(
        f"{POLICY}/cel/machine.pyx",
        "run.locals[run.depth - 1 - step.detail]",
        "run.locals[run.depth - 1]",
    ),
    "an operand of and is dropped": Mutant(
        f"{POLICY}/cel/lower.py",
        "return tuple(part for each in parts for part in each)",
        "return tuple(part for each in parts for part in each)[:4]",
    ),
    "timestamps have no leap days": Mutant(
        f"{POLICY}/cel/moment.pyx",
        "era * 146_097 + of_era * 365 + of_era // 4",
        "era * 146_097 + of_era * 365",
    ),
    "a bad fact is its default": Mutant(
        f"{POLICY}/cel/frame.pyx",
        "return value if fits(&value, &self._declared[slot]) else failed(FACT_TYPE, slot)",
        "return value if fits(&value, &self._declared[slot]) else empty(self._declared[slot].kind)",
    ),
}
# A developer's run tries a few: a build takes some seconds.
USUAL = ("or does not absorb errors", "an operand of and is dropped")


def tried() -> list[str]:
    return list(MUTANTS) if effort(False, ci=True, nightly=True) else list(USUAL)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of core as it is built."""
    copy = tmp_path_factory.mktemp("mutants") / "core"
    shutil.copytree(ROOT / "core", copy)
    return copy


@pytest.mark.timeout(600)
def test_the_copy_as_it_is_passes(core: Path) -> None:
    done = run_tests(core, TESTS[: effort(1, ci=99, nightly=99)])
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", tried())
def test_every_mutant_is_found(core: Path, name: str) -> None:
    with seeded(core, MUTANTS[name]):
        done = run_tests(core, TESTS)
    assert done.returncode == 1, f"{name} lives\n{done.stdout[-2000:]}"
    assert "FAILED" in done.stdout, done.stdout[-2000:]


def test_every_mutant_would_change_its_file() -> None:
    for name, mutant in MUTANTS.items():
        text = (ROOT / "core" / mutant.file).read_text()
        assert text.count(mutant.before) == 1, name
        assert mutant.before != mutant.after, name
