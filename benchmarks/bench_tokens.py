"""How close is the estimate of a prompt's tokens, and what does it cost?

Back of the envelope: a character is two table look-ups and an addition, a nanosecond, so a microsecond
a KB of ASCII; a report updates a matrix of 18 x 18, half a microsecond. The error is that of texts which
nothing was learned from, on the vocabularies of three vendors, each corpus being one profile's traffic;
`mixed` is one profile that sends all of them, `table` is before the first report.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _result import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from token_corpora import corpora, halves
from token_errors import errors, percentile
from vocabularies import VOCABULARIES, counter

from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.measure import Shape

ROUNDS = 9
KB = 1_024


def us_each(work: Callable[[], object], times: int) -> list[float]:
    """CPU microseconds of one `work`, for each of ROUNDS."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        for _ in range(times):
            work()
        rounds.append((time.process_time_ns() - begin) / times / 1e3)
    return rounds


def speed() -> None:
    """The pass over each corpus by itself, and the same over all."""
    every: list[float] = []
    for name, chunks in corpora().items():
        text = "".join(chunks)
        size_kb = len(text.encode()) / KB
        rounds = [us / size_kb for us in us_each(lambda text=text: Shape([text]), 20)]
        every.append(median(rounds))
        if name in ("language-en_GB", "language-zh_Hans", "python", "json"):
            emit(f"tokens.estimate.{name}.us_per_kb", median(rounds), "us", 20 * ROUNDS)
    emit("tokens.estimate.us_per_kb", median(every), "us", 20 * ROUNDS * len(every))
    emit("tokens.estimate.us_per_kb_p99", percentile(every, 99), "us", 20 * ROUNDS * len(every))


def vocabulary_speed() -> None:
    """What a real tokenizer takes, for comparison."""
    text, count = "".join(corpora()["language-en_GB"]), counter("openai-o200k")
    rounds = us_each(lambda: count(text), 5)
    emit("tokens.exact.us_per_kb", median(rounds) / (len(text) / KB), "us", 5 * ROUNDS)


def learning() -> None:
    """One report, and one estimate after it."""
    calibration, shape = Calibration(), Shape(["hello world, how are you? " * 40])
    learn = us_each(lambda: calibration.learn_input("p", "m", shape, 250), 20_000)
    emit("tokens.learn.us", median(learn), "us", 20_000 * ROUNDS)
    ask = us_each(lambda: calibration.input_tokens("p", "m", shape), 20_000)
    emit("tokens.estimate.us_per_call", median(ask), "us", 20_000 * ROUNDS)


def accuracy() -> None:
    """Errors over all corpora and vocabularies, and of each vocabulary."""
    own: list[float] = []
    mixed: list[float] = []
    by_corpus: dict[str, list[float]] = {}
    for vocabulary in VOCABULARIES:
        measured = list(errors(vocabulary))
        for name, error in measured:
            by_corpus.setdefault(name, []).append(error)
        here = [error for _, error in measured]
        own += here
        mixed += [error for _, error in errors(vocabulary, own_profiles=False)]
        p95 = percentile(here, 95) * 100
        emit(f"tokens.estimate.{vocabulary}.error_p95_pct", p95, "%", len(here))
    emit("tokens.estimate.error_p50_pct", percentile(own, 50) * 100, "%", len(own))
    emit("tokens.estimate.error_p95_pct", percentile(own, 95) * 100, "%", len(own))
    emit("tokens.estimate.error_p99_pct", percentile(own, 99) * 100, "%", len(own))
    emit("tokens.estimate.mixed.error_p95_pct", percentile(mixed, 95) * 100, "%", len(mixed))
    worst = [percentile(found, 95) * 100 for found in by_corpus.values()]
    emit("tokens.estimate.corpora", len(worst), "corpora", len(own))
    within = sum(p95 <= 17 for p95 in worst)
    emit("tokens.estimate.corpora_within_17_pct", within, "corpora", len(worst))
    table = [
        Calibration().input_tokens("p", "m", Shape([text])) / counter(vocabulary)(text) - 1
        for vocabulary in VOCABULARIES
        for chunks in corpora().values()
        for text in halves(chunks)[1]
    ]
    emit("tokens.estimate.table.error_p95_pct", percentile(table, 95) * 100, "%", len(table))


def main() -> None:
    """Print one JSON line for each measurement."""
    speed()
    vocabulary_speed()
    learning()
    accuracy()


if __name__ == "__main__":
    main()
