"""Seeded bugs in what parts conditions, indexes them and combines rules: the tests find every one.

As in cel/test_mutants.py, which has the evaluator's.
"""

import shutil
from pathlib import Path

import pytest
from effort import effort
from mutants import ROOT, Mutant, run_tests, seeded

POLICY = "harmost/core/policy"
HERE = Path(__file__).parent
# What runs on a copy: the quick ones that say what a policy decides.
TESTS = [
    *(HERE / f"test_{name}.py" for name in ("normal", "index", "decide", "decide_bounds")),
    HERE.parent / "test_engine.py",
    HERE / "test_ruleset.py",
]

MUTANTS = {
    "a threshold is off by one": Mutant(
        f"{POLICY}/index/predicates.py",
        'last = math.floor(bound) - (op == "<" and whole)',
        "last = math.floor(bound)",
    ),
    "a class of integers begins one later": Mutant(
        f"{POLICY}/index/index.pyx",
        "if self._starts[middle] <= number:",
        "if self._starts[middle] < number:",
    ),
    "an error in a missing entry refutes nothing": Mutant(
        f"{POLICY}/index/index.pyx",
        "truth = int(test.negated) if which == OTHER else -1",
        "truth = int(test.negated) if which == OTHER else 1",
    ),
    "the row of other values is that of the named ones": Mutant(
        f"{POLICY}/index/index.pyx",
        "truth = int(test.negated) if which == OTHER else -1",
        "truth = int(not test.negated) if which == OTHER else -1",
    ),
    "the row of a value that fails a test is missing": Mutant(
        f"{POLICY}/index/index.pyx",
        "        for lane in self._negative[which] or ():\n            clear_bit(words, lane)\n",
        "",
    ),
    "lanes that want no entry survive one": Mutant(
        f"{POLICY}/index/index.pyx",
        "        for lane in self._absent:\n            clear_bit(words, lane)\n",
        "",
    ),
    "the rows of absent and present elements are exchanged": Mutant(
        f"{POLICY}/index/index.pyx",
        "refute(index, words_of(self._absent[place]), test.lanes, test.negated)",
        "refute(index, words_of(self._absent[place]), test.lanes, not test.negated)",
    ),
    "an error refutes rules that restrict": Mutant(
        f"{POLICY}/index/index.pyx",
        "if truth == 0 or index.lower[lane >> 6] >> (lane & 63) & 1:",
        "if truth != 1:",
    ),
    "an error refutes no rule that allows": Mutant(
        f"{POLICY}/index/index.pyx",
        "if truth == 0 or index.lower[lane >> 6] >> (lane & 63) & 1:",
        "if truth == 0:",
    ),
    "lanes after the first block are forgotten": Mutant(
        f"{POLICY}/index/index.pyx",
        "    while at < words:\n",
        "    while at < words and at < BLOCK_WORDS:\n",
    ),
    "negation is lost": Mutant(
        f"{POLICY}/index/normal.py",
        "return alternatives(arg, negated=not negated)",
        "return alternatives(arg, negated=negated)",
    ),
    "a negated or is an or": Mutant(
        f"{POLICY}/index/normal.py",
        "return _both(args, negated) if negated else _either(args, negated)",
        "return _either(args, negated)",
    ),
    "the last branch of an or is lost": Mutant(
        f"{POLICY}/index/normal.py",
        "return _distinct(conjunction for part in parts for conjunction in part)",
        "return _distinct(conjunction for part in parts[:-1] for conjunction in part)",
    ),
    "beyond the bound of alternatives a conjunct is dropped": Mutant(
        f"{POLICY}/index/normal.py",
        "parts[largest] = ((Literal(args[largest], negated),),)",
        "parts[largest] = ((),)",
    ),
    "tenants above are skipped": Mutant(
        f"{POLICY}/index/parts.py",
        'for path in ("", *ancestors(tenant))]',
        'for path in ("", tenant)]',
    ),
    "a rule binds any tenant that it names": Mutant(
        f"{POLICY}/index/parts.py", "if visible(rule.tenant, tenant):", "if tenant is not None:"
    ),
    "the mask of candidates is shifted": Mutant(
        f"{POLICY}/index/parts.py", "true |= holds << index", "true |= holds << index + 1"
    ),
    "a rule met in two parts keeps the mask of one": Mutant(
        f"{POLICY}/index/decide.pyx", "            merged[found].mask |= right[j].mask\n", ""
    ),
    "allow rules of tenants below lift": Mutant(
        f"{POLICY}/index/decide.pyx",
        "for level in range(rule.level + 1):",
        "for level in range(LEVELS):",
    ),
    "an allow lifts at its own priority": Mutant(
        f"{POLICY}/index/decide.pyx",
        "        if rule.priority != priority or i == 0:\n",
        "        if True:\n",
    ),
    "an exception holds in its last second": Mutant(
        f"{POLICY}/index/decide.pyx", "0 < rule.expires_s <= now_s", "0 < rule.expires_s < now_s"
    ),
    "the opposite of an error is true": Mutant(
        f"{POLICY}/index/residual.pyx",
        "found = everything & ~(found | self._fails[which])",
        "found = everything & ~found",
    ),
    "a cap of no rule is the tightest": Mutant(
        f"{POLICY}/index/decide.pyx",
        "if rule.output_tokens_max and not 0 < verdict",
        "if not 0 < verdict",
    ),
}
# A developer's run tries a few: a build takes some seconds.
USUAL = ("the last branch of an or is lost", "a threshold is off by one")


def tried() -> list[str]:
    return list(MUTANTS) if effort(False, ci=True, nightly=True) else list(USUAL)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of core as it is built."""
    copy = tmp_path_factory.mktemp("mutants") / "core"
    shutil.copytree(ROOT / "core", copy)
    return copy


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", tried())
def test_every_mutant_is_found(core: Path, name: str) -> None:
    with seeded(core, MUTANTS[name]):
        done = run_tests(core, TESTS)
    assert done.returncode == 1, f"{name} lives\n{done.stdout[-2000:]}"
    assert "FAILED" in done.stdout, done.stdout[-2000:]


@pytest.mark.skipif(
    not effort(False, ci=True, nightly=True), reason="the suite itself tells: see CI"
)
def test_the_copy_as_it_is_passes(core: Path) -> None:
    done = run_tests(core, TESTS)
    assert done.returncode == 0, done.stdout[-2000:]


def test_every_mutant_would_change_its_file() -> None:
    for name, mutant in MUTANTS.items():
        text = (ROOT / "core" / mutant.file).read_text()
        assert text.count(mutant.before) == 1, name
        assert mutant.before != mutant.after, name
