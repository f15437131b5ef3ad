"""How far estimates are off, on real vocabularies: learn on one half of each corpus, measure on the other."""

from collections.abc import Iterator
from itertools import zip_longest

from token_corpora import corpora, halves
from vocabularies import counter

from harmost.core.tokens.calibration import Calibration
from harmost.core.tokens.measure import Shape

__all__ = ["errors", "percentile"]


def errors(vocabulary: str, *, own_profiles: bool = True) -> Iterator[tuple[str, float]]:
    """Corpus and relative error, for each text that nothing was learned from.

    Each corpus is a profile's traffic, or with `own_profiles` False all of them are one's.
    """
    tokens, calibration = counter(vocabulary), Calibration()
    learned = {name: halves(chunks)[0] for name, chunks in corpora().items()}
    for turn in zip_longest(*learned.values()):  # as profiles' calls would come: in turns
        for name, text in zip(learned, turn, strict=True):
            if text is not None:
                profile = name if own_profiles else "all"
                calibration.learn_input(profile, vocabulary, Shape([text]), tokens(text))
    for name, chunks in corpora().items():
        for text in halves(chunks)[1]:
            profile = name if own_profiles else "all"
            estimated = calibration.input_tokens(profile, vocabulary, Shape([text]))
            yield name, estimated / tokens(text) - 1


def percentile(values: list[float], percent: int) -> float:
    """Nearest-rank percentile of the magnitudes of `values`."""
    ranked = sorted(map(abs, values))
    return ranked[max(-(-len(ranked) * percent // 100) - 1, 0)]
