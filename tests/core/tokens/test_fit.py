"""A model's fit finds what its provider counts by, and no report makes it say nonsense."""

import random
from math import isfinite

import pytest
from effort import effort

from harmost.core.tokens.classes import GROUPS
from harmost.core.tokens.fit import ModelFit
from harmost.core.tokens.measure import Shape

FEATURES = len(GROUPS) + 2
TEXTS = (
    "The quick brown fox jumps over the lazy dog. ",
    "Съешь же ещё этих мягких французских булок. ",
    "いろはにほへと ちりぬるを 我が世誰ぞ 常ならむ。",
    '{"id": 1234567, "total": 99.5, "open": true}\n',
    "def f(x):\n\treturn x ** 2  # twice\n",
    "Größe, Äpfel, Straße und Übermut. ",
    "🎉🚀😀 ",
)


class Slow:
    """The twin: the same filter in plain Python."""

    def __init__(self) -> None:
        self.weights = [1.0] * FEATURES
        self.first = [0.1] * (FEATURES - 1) + [4.0]
        self.doubt = [
            [self.first[row] if row == column else 0.0 for column in range(FEATURES)]
            for row in range(FEATURES)
        ]

    def features(self, shape: Shape) -> list[float]:
        return [*(part / 1000 for part in shape.millitokens), shape.messages * 4.0, 3.0]

    def tokens(self, shape: Shape) -> float:
        return sum(w * f for w, f in zip(self.weights, self.features(shape), strict=True))

    def learn(self, shape: Shape, tokens: int) -> None:
        share = [feature / tokens for feature in self.features(shape)]
        pull = [sum(d * s for d, s in zip(row, share, strict=True)) for row in self.doubt]
        spread = 0.0064 + sum(p * s for p, s in zip(pull, share, strict=True))
        surprise = 1 - sum(w * s for w, s in zip(self.weights, share, strict=True))
        surprise = min(max(surprise, -0.5), 0.5)
        for row in range(FEATURES):
            self.weights[row] += pull[row] / spread * surprise
            for column in range(FEATURES):
                self.doubt[row][column] -= pull[row] * pull[column] / spread
            if self.doubt[row][row] < self.first[row]:
                self.doubt[row][row] += 1e-5
        least = [0.125] * len(GROUPS) + [0.0, 0.0]
        most = [8.0] * len(GROUPS) + [8.0, 1000.0]
        self.weights = [
            min(max(w, low), high) for w, low, high in zip(self.weights, least, most, strict=True)
        ]


def shape(dice: random.Random) -> Shape:
    return Shape(dice.choice(TEXTS) * dice.randint(1, 30) for _ in range(dice.randint(1, 4)))


@pytest.mark.parametrize("seed", range(effort(3, ci=20, nightly=300)))
def test_it_is_the_slow_twins(seed: int) -> None:
    dice = random.Random(seed)
    fit, slow = ModelFit(), Slow()
    for _ in range(100):
        seen = shape(dice)
        reported = max(1, round(seen.tokens * dice.lognormvariate(0, 0.5)) + dice.randint(0, 50))
        fit.learn(seen, reported)
        slow.learn(seen, reported)
        assert fit.weights == pytest.approx(slow.weights, rel=1e-6)
        assert fit.tokens(seen) == pytest.approx(slow.tokens(seen), rel=1e-6)


def test_before_the_first_report_it_says_the_table_and_a_usual_template() -> None:
    seen = Shape(["hello", "world"])
    assert ModelFit().tokens(seen) == pytest.approx(sum(seen.millitokens) / 1000 + 2 * 4 + 3)


def test_it_finds_the_weights_and_the_hidden_prompt_of_a_tokenizer() -> None:
    dice, fit = random.Random(7), ModelFit()
    weights = [dice.uniform(0.5, 2.5) for _ in GROUPS]

    def counted(seen: Shape) -> int:
        text = sum(w * part for w, part in zip(weights, seen.millitokens, strict=True)) / 1000
        return max(1, round(text + 7 * seen.messages + 120))

    for _ in range(2_000):
        seen = shape(dice)
        fit.learn(seen, counted(seen))
    tried = [shape(dice) for _ in range(200)]
    assert max(abs(fit.tokens(seen) / counted(seen) - 1) for seen in tried) < 0.03


def test_it_follows_a_new_tokenizer() -> None:
    dice, fit = random.Random(8), ModelFit()
    for factor in (1.0, 1.8, 0.6):
        for _ in range(3_000):
            seen = shape(dice)
            fit.learn(seen, max(1, round(factor * (seen.tokens + 11))))
        seen = shape(dice)
        assert fit.tokens(seen) / (factor * (seen.tokens + 11)) == pytest.approx(1, abs=0.05)


def test_one_wrong_report_among_many_moves_little() -> None:
    dice, fit = random.Random(9), ModelFit()
    for _ in range(500):
        seen = shape(dice)
        fit.learn(seen, seen.tokens + 11)
    tried = [shape(dice) for _ in range(50)]
    before = [fit.tokens(seen) for seen in tried]
    fit.learn(shape(dice), 1_000_000)
    fit.learn(shape(dice), 1)
    after = [fit.tokens(seen) for seen in tried]
    assert max(abs(a / b - 1) for a, b in zip(after, before, strict=True)) < 0.1


@pytest.mark.parametrize("seed", range(effort(3, ci=10, nightly=20)))
def test_lies_never_make_it_less_than_nothing_or_no_number(seed: int) -> None:
    dice, fit = random.Random(seed), ModelFit()
    for _ in range(effort(3_000, ci=30_000, nightly=300_000)):
        seen = shape(dice) if dice.random() < 0.5 else Shape([])
        fit.learn(seen, dice.choice((1, 2, dice.randint(1, 10_000), 1_000_000_000, 2**63 - 1)))
    for weight, most in zip(fit.weights, [8.0] * (FEATURES - 1) + [1000.0], strict=True):
        assert isfinite(weight)
        assert 0 <= weight <= most
    seen = shape(dice)
    assert isfinite(fit.tokens(seen))
    for _ in range(5_000):  # and the truth is found again
        seen = shape(dice)
        fit.learn(seen, seen.tokens + 11)
    assert fit.tokens(seen) / (seen.tokens + 11) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("tokens", [0, -1])
def test_a_report_of_no_tokens_teaches_nothing_and_is_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match="teaches nothing"):
        ModelFit().learn(Shape(["a"]), tokens)


def test_what_is_no_shape_is_refused() -> None:
    with pytest.raises(TypeError):
        ModelFit().tokens(None)  # type: ignore[arg-type]
