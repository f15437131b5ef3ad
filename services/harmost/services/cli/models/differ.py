"""Where the documents of models and the built-in list differ."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from harmost.core.budget.price_list import ListedModel, built_in
from harmost.services.cli.money.prices import Difference, Known, differences, written

__all__ = ["Diff", "difference"]

CONTEXT = "context"


class Diff(NamedTuple):
    """What differs. `gone` are models that the list lacks or calls deprecated, `new` what only it has."""

    models: int
    prices: list[Difference]
    contexts: list[tuple[str, int, int]]
    gone: list[tuple[str, str]]
    new: dict[str, list[str]]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Prices and contexts as rows of a table."""
        rows: list[tuple[str, ...]] = [(one.model, one.what, *written(one)) for one in self.prices]
        for model, ours, theirs in self.contexts:
            off = f"{(ours - theirs) * 100 / theirs:+.1f} %"
            rows.append((model, CONTEXT, f"{ours:,}", f"{theirs:,}", off))
        return rows

    def plain(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "list": built_in().source,
            "models": self.models,
            "prices": [one._asdict() for one in self.prices],
            "contexts": [
                {"model": model, "document_tokens": ours, "list_tokens": theirs}
                for model, ours, theirs in self.contexts
            ],
            "gone": [{"model": model, "why": why} for model, why in self.gone],
            "new": self.new,
        }

    def summary(self) -> str:
        """One line of counts."""
        return (
            f"{self.models} models against {built_in().source}: {len(self.prices)} other prices, "
            f"{len(self.contexts)} other contexts, {len(self.gone)} gone, "
            f"{sum(map(len, self.new.values()))} new"
        )


def difference(known: Sequence[Known]) -> Diff:
    """What differs of `known`. A model whose provider is no vendor's of the list is passed over."""
    now_s = int(datetime.now(UTC).timestamp())
    contexts: list[tuple[str, int, int]] = []
    gone: list[tuple[str, str]] = []
    named: dict[str, set[str]] = {}
    for one in known:
        vendor = _vendor(one)
        if not vendor:
            continue
        found = built_in().find(vendor, one.model.vendor_model_id)
        if found is None:
            gone.append((one.name, f"{vendor} lists no `{one.model.vendor_model_id}`"))
            named.setdefault(vendor, set())
            continue
        named.setdefault(vendor, set()).add(found.name)
        if found.deprecated:
            gone.append((one.name, f"{vendor} is said to have deprecated it"))
        ours, theirs = one.model.context_tokens_max, found.context_tokens_max
        if theirs and ours != theirs:
            contexts.append((one.name, ours, theirs))
    prices = [each for one in known for each in differences(one, now_s)]
    new = {vendor: _new(vendor, names) for vendor, names in sorted(named.items())}
    return Diff(len(known), prices, contexts, gone, {v: names for v, names in new.items() if names})


def _vendor(one: Known) -> str:
    if one.provider is None:
        return ""
    vendor = one.provider.price_list or built_in().vendor_at(one.provider.base_url)
    return vendor if vendor in built_in().vendors else ""


def _new(vendor: str, known: set[str]) -> list[str]:
    """What `vendor` has, bills by tokens and is said to hold something, and no document names."""
    found = ((name, built_in().find(vendor, name)) for name in built_in().models(vendor))
    return [name for name, listed in found if listed is not None and _counts(listed, known)]


def _counts(listed: ListedModel, known: set[str]) -> bool:
    return (
        bool(listed.rows and listed.context_tokens_max)
        and not listed.deprecated
        and listed.name not in known
    )
