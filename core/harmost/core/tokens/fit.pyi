"""Typed face of fit.pyx: what one model's tokenizer makes of each group of characters."""

from harmost.core.tokens.measure import Shape

class ModelFit:
    """Learned from what the model's provider reports; before the first report, as the table says.

    It covers what the provider's chat template adds to a request and to each message. No report moves
    a weight out of its bounds, so what it says is always finite and not below 0.
    """

    def __init__(self) -> None: ...
    def tokens(self, shape: Shape) -> float:
        """How many input tokens the model would report for `shape`. O(groups)."""
    def learn(self, shape: Shape, tokens: int) -> None:
        """It reported `tokens` (> 0, else ValueError) for `shape`. O(groups squared), a microsecond."""
    @property
    def weights(self) -> tuple[float, ...]:
        """Of each group by what the table says, of a message's 4 tokens and of a request's 3."""
