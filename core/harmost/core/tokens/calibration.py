"""How many tokens a model would report, learned from what it reported: by model, then by profile.

A model's fit (fit.pyx) knows its vocabulary and its chat template. On top of it each profile has a
ratio of its own for that model: its language, its jargon, the format of its prompts. Both are kept
in memory, for the models and profiles that are used most; one that was forgotten learns anew.

Estimates only. What is held for an attempt is a bound that no report can move: estimate.py.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final, TypeVar

import msgspec

from harmost.core.tokens.estimate import bytes_bound, estimate_of_bytes
from harmost.core.tokens.fit import ModelFit
from harmost.core.tokens.measure import Shape

__all__ = ["Calibration"]

# About 3 KB and 0.2 KB each.
MODELS_MAX: Final = 1_024
PROFILES_MAX: Final = 16_384
# A ratio follows the last so many reports; before that it is their mean, and 1 counts as one of them.
REPORTS_FOLLOWED: Final = 16
RATIO_MIN: Final = 0.25
RATIO_MAX: Final = 4.0
# Shorter answers say little about the next: half a token more or less is a tenth of them.
OUTPUT_BYTES_MIN: Final = 32
BYTES_PER_TOKEN_MIN: Final = 1.0
BYTES_PER_TOKEN_MAX: Final = 16.0


Key = TypeVar("Key")
Value = TypeVar("Value")


class _Profile(msgspec.Struct):
    """What one profile's traffic to one model is like."""

    ratio: float = 1.0
    reports: int = 0
    bytes_per_token: float = 0.0  # of answers; 0: none was reported
    answers: int = 0


class Calibration:
    """Estimates for a profile and a model. Bounded: what was used longest ago is forgotten."""

    def __init__(self, *, models_max: int = MODELS_MAX, profiles_max: int = PROFILES_MAX) -> None:
        self._models: OrderedDict[str, ModelFit] = OrderedDict()
        self._profiles: OrderedDict[tuple[str, str], _Profile] = OrderedDict()
        self._models_max, self._profiles_max = models_max, profiles_max

    def input_tokens(self, profile: str, model: str, shape: Shape) -> int:
        """About how many input tokens `model` would report for `shape`; never more than its bound."""
        fit, known = self._models.get(model), self._profiles.get((profile, model))
        if fit is None:
            fit = _UNLEARNED
        tokens = fit.tokens(shape) * (known.ratio if known is not None else 1.0)
        return min(round(tokens), bytes_bound(shape.utf8_bytes, shape.messages))

    def output_tokens(self, profile: str, model: str, text_bytes: int) -> int:
        """About how many tokens an answer of so many bytes has that `model` gave."""
        known = self._profiles.get((profile, model))
        if known is None or not known.answers:
            return estimate_of_bytes(text_bytes)
        return ceil(text_bytes / known.bytes_per_token)

    def learn_input(self, profile: str, model: str, shape: Shape, tokens: int) -> None:
        """`model` reported `tokens` for `shape`. What cannot be true is passed over."""
        if not 0 < tokens <= bytes_bound(shape.utf8_bytes, shape.messages):
            return
        fit = _kept(self._models, model, ModelFit, self._models_max)
        known = _kept(self._profiles, (profile, model), _Profile, self._profiles_max)
        fit.learn(shape, tokens)
        # What the fit does not explain, now that it has learned: else both would learn the same.
        ratio = _within(tokens / max(fit.tokens(shape), 1.0), RATIO_MIN, RATIO_MAX)
        known.reports += 1
        known.ratio += (ratio - known.ratio) / min(known.reports + 1, REPORTS_FOLLOWED)

    def learn_output(self, profile: str, model: str, text_bytes: int, tokens: int) -> None:
        """`model` reported `tokens` for a visible answer of so many bytes."""
        if tokens <= 0 or text_bytes < OUTPUT_BYTES_MIN:
            return
        known = _kept(self._profiles, (profile, model), _Profile, self._profiles_max)
        said = _within(text_bytes / tokens, BYTES_PER_TOKEN_MIN, BYTES_PER_TOKEN_MAX)
        known.answers += 1
        known.bytes_per_token += (said - known.bytes_per_token) / min(
            known.answers, REPORTS_FOLLOWED
        )


_UNLEARNED: Final = ModelFit()


def _kept(
    known: OrderedDict[Key, Value], key: Key, fresh: Callable[[], Value], count_max: int
) -> Value:
    """What is known of `key`, from now on the one used last; the one used longest ago may go."""
    value = known.get(key)
    if value is None:
        value = known[key] = fresh()
        if len(known) > count_max:
            known.popitem(last=False)
    else:
        known.move_to_end(key)
    return value


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
