"""The models that calls could go to, with their facts, made once for a snapshot and not for each call."""

from collections.abc import Mapping

from harmost.core.budget.price import ModelPrice
from harmost.core.budget.price_book import PriceBook
from harmost.core.limits import POLICY_CANDIDATES_MAX
from harmost.core.policy.engine import Candidate, Candidates, Engine
from harmost.core.policy.facts import candidate_facts
from harmost.core.resources.resolve import Catalog

__all__ = ["CandidateTable"]


class CandidateTable:
    """Lists of candidates, ready for `engine`. One thread at a time."""

    def __init__(self, engine: Engine, catalog: Catalog, prices: PriceBook) -> None:
        self._engine = engine
        self._catalog = catalog
        self._book = prices
        # By the names of the models, while `_prices` hold.
        self._prepared: dict[tuple[str, ...], Candidates] = {}
        self._prices: Mapping[str, ModelPrice | None] | None = None

    def at(self, models: tuple[str, ...], now_s: int) -> Candidates:
        """`models`, which the catalog has, at the prices of `now_s` (Unix seconds).

        A dict look-up for a list seen before. Beyond POLICY_CANDIDATES_MAX lists all are made anew.
        """
        prices = self._book.at(now_s)
        if prices is not self._prices or len(self._prepared) > POLICY_CANDIDATES_MAX:
            self._prepared, self._prices = {}, prices
        found = self._prepared.get(models)
        if found is None:
            made = [self._candidate(name, prices) for name in models]
            found = self._prepared[models] = self._engine.prepare(made)
        return found

    def _candidate(self, name: str, prices: Mapping[str, ModelPrice | None]) -> Candidate:
        model = self._catalog.models[name].spec
        provider = self._catalog.providers[model.provider].spec
        return Candidate(name, candidate_facts(name, model, model.provider, provider, prices[name]))
