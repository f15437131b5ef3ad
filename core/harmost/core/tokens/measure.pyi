"""Typed face of measure.pyx: what texts would cost, by group of characters."""

from collections.abc import Iterable

class Shape:
    """What messages would cost, one for each of `texts`: O(characters), about a nanosecond each.

    No tokenizer is asked: costs.jsonl says for each class of characters what one costs after each
    other, as a mean over several vendors' vocabularies. For one model see fit.pyi.
    """

    def __init__(self, texts: Iterable[str]) -> None: ...
    @property
    def messages(self) -> int: ...
    @property
    def utf8_bytes(self) -> int:
        """Size of all texts in UTF-8; a lone surrogate counts as the three bytes that it would be."""
    @property
    def millitokens(self) -> tuple[int, ...]:
        """Thousandths of a token by group: see classes.GROUPS."""
    @property
    def tokens(self) -> int:
        """About how many tokens the texts have, whatever the model; never more than their bytes."""
