"""The models that `harmost models` speaks of: those of the running mesh, or those of documents."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harmost.client import ModelInfo
from harmost.core.errors import InvalidDocuments, InvalidInput, NotFound

if TYPE_CHECKING:
    from harmost.core.resources.parse import Source
    from harmost.services.cli.money.prices import Known
    from harmost.services.cli.target import Target

__all__ = ["Wanted", "documents_at", "named", "of_documents", "of_mesh"]

SHOWN_MAX = 5


class Wanted(NamedTuple):
    """Which models: "" and () ask nothing. `usd_max` is for a million tokens, of input and of output."""

    provider: str = ""
    capabilities: tuple[str, ...] = ()
    region: str = ""
    status: str = ""
    usd_max: str = ""

    def among(self, entries: Sequence[ModelInfo]) -> list[ModelInfo]:
        """Those of `entries` that are wanted; a word that none of them has is told."""
        _check("provider", self.provider, {one.provider for one in entries})
        _check("region", self.region, {one.region for one in entries})
        for word in self.capabilities:
            _check("capability", word, {each for one in entries for each in one.capabilities})
        nanos_max = _nanos_of(self.usd_max) if self.usd_max else None
        return [
            one
            for one in entries
            if (not self.provider or one.provider == self.provider)
            and (not self.region or one.region == self.region)
            and (not self.status or one.status == self.status)
            and set(self.capabilities) <= set(one.capabilities)
            and (nanos_max is None or _within(one, nanos_max))
        ]


def of_mesh(target: "Target") -> list[ModelInfo]:
    """What the Router lists for this key."""
    from harmost.services.cli.catalog import client_of
    from harmost.services.operate.session import reaching

    with reaching(target.endpoint("router")), client_of(target) as client:
        return list(client.models())


def of_documents(known: "Iterable[Known]") -> list[ModelInfo]:
    """The same of documents, as of now."""
    from harmost.core.budget.price_book import compile_schedule
    from harmost.core.resources.lifecycle import warning_of

    now, found = datetime.now(UTC), list[ModelInfo]()
    for name, model, provider in known:
        try:
            price = compile_schedule(model, provider).at(int(now.timestamp()))
            warning = warning_of(name, model, now.date())
        except ValueError as error:
            raise InvalidDocuments(f"model `{name}`: {error}") from None
        region = model.region or (provider.region if provider else "")
        found.append(
            ModelInfo(
                name=name,
                provider=model.provider,
                vendor_model_id=model.vendor_model_id,
                context_tokens_max=model.context_tokens_max,
                region=region,
                input_usd_picos_per_token=price.input_usd_picos if price else None,
                output_usd_picos_per_token=price.output_usd_picos if price else None,
                status=model.status,
                version=model.version,
                output_tokens_max=model.output_tokens_max,
                capabilities=model.capabilities,
                certifications=model.certifications,
                quality=model.quality,
                deprecated_on=model.deprecated_on,
                retires_on=model.retires_on,
                replacement=model.replacement,
                warning=warning,
            )
        )
    return found


def documents_at(paths: list[Path]) -> "list[Source]":
    """The YAML files at `paths`."""
    from harmost.core.resources.parse import Source
    from harmost.services.cli.resources import sources_of

    return [Source(one.name, one.yaml) for one in sources_of(paths)]


def named(names: Sequence[str], entries: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The models called `names`, in their order; NotFound tells of what is near."""
    by_name = {one.name: one for one in entries}
    for name in names:
        if name not in by_name:
            raise NotFound(f"there is no model `{name}`: {_near(name, by_name)}")
    return [by_name[name] for name in names]


def _check(what: str, word: str, known: set[str]) -> None:
    if word and word not in known:
        raise NotFound(f"no model has {what} `{word}`: {_near(word, known - {''})}")


def _near(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    # `gpt-6-sol` is near `openai/gpt-6-sol`, of which it is the end, however long that is.
    ends = [name for name in names if name.endswith(f"/{word}")]
    near = ends or get_close_matches(word, names, SHOWN_MAX, cutoff=0.5) or names
    shown = ", ".join(f"`{name}`" for name in near[:SHOWN_MAX])
    more = f" and {len(near) - SHOWN_MAX} more" if len(near) > SHOWN_MAX else ""
    return f"there is {shown}{more}" if shown else "there is none"


def _within(one: ModelInfo, nanos_max: int) -> bool:
    # A trillionth of a dollar a token is a thousand billionths a million tokens.
    prices = (one.input_usd_picos_per_token, one.output_usd_picos_per_token)
    return all(price is not None and price * 1_000 <= nanos_max for price in prices)


def _nanos_of(usd: str) -> int:
    from harmost.core.budget.price import usd_nanos

    try:
        return usd_nanos(usd)
    except ValueError as error:
        raise InvalidInput(f"`--max-price`: {error}") from None
