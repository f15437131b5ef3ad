"""`harmost prices show|diff`: what a model costs, from where, since when; documents against the list."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from harmost.core.errors import InvalidInput, NotFound
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harmost.core.budget.price import ModelPrice, Rates
    from harmost.core.budget.price_book import PriceSchedule
    from harmost.core.resources.kinds import ModelSpec, ProviderSpec
    from harmost.core.resources.parse import Source

__all__ = ["Difference", "Known", "app", "differences", "known_in", "known_models", "written"]

CLASSES = (
    "input",
    "cached_input",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning_output",
    "audio_input",
    "audio_output",
)
app = typer.Typer(no_args_is_help=True)


class Known(NamedTuple):
    """A model as the mesh's documents say it, and its provider."""

    name: str
    model: "ModelSpec"
    provider: "ProviderSpec | None"


class Difference(NamedTuple):
    """What a document and the list say of one class of one model, in picodollars; None: nothing."""

    model: str
    what: str
    document_usd_picos: int | None
    list_usd_picos: int | None


@app.callback()
def prices() -> None:
    """See what models cost, and where documents and the built-in list differ."""


@app.command("show")
def show(
    model: Annotated[
        str, typer.Argument(help="A `Model` document; with --vendor, a model of the built-in list.")
    ],
    vendor: Annotated[
        str, typer.Option(help="Ask the built-in list alone, such as openai. Needs no mesh.")
    ] = "",
    at: Annotated[str, typer.Option(help="When: a day such as 2026-01-31. Default: now.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what a model costs, from where that is known, and since when."""
    from harmost.core.budget.price_book import compile_schedule
    from harmost.services.cli.output import emit
    from harmost.services.cli.target import Target

    now_s = _moment_s(at)
    if vendor:
        known = _listed(vendor, model)
    else:
        target = Target(address=address, key=key, key_file=key_file, data_dir=data)
        known = _documented(target, model)
    schedule = compile_schedule(known.model, known.provider)
    if as_json:
        emit(_plain(known, schedule, now_s))
    else:
        _print(known, schedule, now_s)


@app.command("diff")
def diff(
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where something differs.")
    ] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show where the prices of documents differ from the built-in list, and which models have none."""
    from harmost.core.budget.price_list import built_in
    from harmost.services.cli.output import emit, note, table
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    known, now_s = known_models(target), _moment_s("")
    found = [each for one in known for each in differences(one, now_s)]
    without = [(one.name, why) for one in known if (why := _why_none(one, now_s))]
    if as_json:
        emit(
            {
                "list": built_in().source,
                "differences": [one._asdict() for one in found],
                "without_price": [{"model": name, "why": why} for name, why in without],
            }
        )
    else:
        if found:
            table(
                ("model", "what", "document", "list", "off"),
                ((one.model, one.what, *written(one)) for one in found),
                right=3,
            )
        if without:
            table(("model without a price", "why"), without)
        note(
            f"{len(known)} models against {built_in().source}: {len(found)} differences, "
            f"{len(without)} without a price"
        )
    if exit_code and (found or without):
        raise typer.Exit(1)


def known_models(target: Any) -> list[Known]:
    """Every `Model` document of the running mesh, in order of their names."""
    from harmost.core.resources.parse import Source
    from harmost.policy.v1 import policy_pb2

    sources: list[Source] = []
    with target.session("policy") as session:
        for kind in ("Model", "Provider"):
            request = policy_pb2.ListResourcesRequest(kind=kind, page_size=1_000)
            for page in session.pages("ListResources", request):
                sources += [Source(f"{kind} {one.name}", one.yaml) for one in page.resources]
    return known_in(sources)


def known_in(sources: "Sequence[Source]") -> list[Known]:
    """Every `Model` document in `sources`, in order of their names; InvalidDocuments tells what is wrong."""
    from harmost.core.resources.kinds import ModelSpec, ProviderSpec
    from harmost.core.resources.parse import parse_sources

    documents = [parsed.document for parsed in parse_sources(sources)]
    providers = {
        one.metadata.name: one.spec for one in documents if isinstance(one.spec, ProviderSpec)
    }
    return [
        Known(one.metadata.name, one.spec, providers.get(one.spec.provider))
        for one in sorted(documents, key=lambda one: one.metadata.name)
        if isinstance(one.spec, ModelSpec)
    ]


def _documented(target: Any, model: str) -> Known:
    for known in known_models(target):
        if known.name == model:
            return known
    raise NotFound(f"there is no model `{model}`: see `harmost get models`")


def _listed(vendor: str, model: str) -> Known:
    from harmost.core.budget.price_list import built_in
    from harmost.core.resources.kinds import ModelSpec, ProviderSpec

    if vendor not in built_in().vendors:
        raise InvalidInput(
            f"the built-in list has no vendor `{vendor}`: use {', '.join(built_in().vendors)}"
        )
    if built_in().find(vendor, model, service_tier="standard") is None:
        raise NotFound(
            f"the built-in list has no model `{model}` of `{vendor}`: write it as the vendor does"
        )
    provider = ProviderSpec(codec="openai", base_url="http://list", price_list=vendor)
    return Known(model, ModelSpec(provider=vendor, vendor_model_id=model), provider)


def _moment_s(day: str) -> int:
    if not day:
        return int(datetime.now(UTC).timestamp())
    try:
        return int(datetime.fromisoformat(f"{day.strip()}T00:00:00+00:00").timestamp())
    except ValueError as error:
        raise InvalidInput(f"`{day[:30]}` is no day: write it like 2026-01-31") from error


def differences(known: Known, now_s: int) -> "Iterator[Difference]":
    """Class by class, where a document states a price and the list knows the model."""
    import msgspec

    from harmost.core.budget.price_book import compile_schedule

    if isinstance(known.model.price, str):
        return
    own = compile_schedule(known.model, known.provider).at(now_s)
    listed = compile_schedule(msgspec.structs.replace(known.model, price="auto"), known.provider)
    other = listed.at(now_s)
    if other is None:
        return
    ours, theirs = _figures(own), _figures(other)
    for what in dict.fromkeys((*ours, *theirs)):
        if ours.get(what) != theirs.get(what):
            yield Difference(known.name, what, ours.get(what), theirs.get(what))


def _why_none(known: Known, now_s: int) -> str:
    from harmost.core.budget.price_book import compile_schedule

    schedule = compile_schedule(known.model, known.provider)
    if schedule.at(now_s) is not None:
        return ""
    return schedule.why or "its document's first price is of a later day"


def _figures(price: "ModelPrice | None") -> dict[str, int]:
    """Every number of a price by what it is for; of a class that is left out, that around it."""
    if price is None:
        return {}
    found = _rates(price)
    for context in price.context_rates:
        above = f" above {context.above_input_tokens:,} input tokens"
        found |= {f"{name}{above}": value for name, value in _rates(context).items()}
    if price.request_usd_picos:
        found["a request"] = price.request_usd_picos
    return found | {f"a call of {tool}": fee for tool, fee in price.tool_usd_picos.items()}


def _rates(rates: "Rates") -> dict[str, int]:
    return {name: getattr(rates, f"{name}_usd_picos") for name in CLASSES}


def _plain(known: Known, schedule: "PriceSchedule", now_s: int) -> dict[str, Any]:
    from msgspec import to_builtins

    price = schedule.at(now_s)
    return {
        "model": known.name,
        "vendor_model_id": known.model.vendor_model_id,
        "service_tier": known.model.service_tier,
        "origin": schedule.origin,
        "price": to_builtins(price) if price is not None else None,
        "why": schedule.why,
        "prices": [
            {
                "since": _day(dated.since_s),
                "from_s": dated.from_s,
                "until_s": dated.until_s,
                "version": dated.price.version,
            }
            for dated in schedule.prices
        ],
    }


def _print(known: Known, schedule: "PriceSchedule", now_s: int) -> None:
    from harmost.services.cli.output import note, safe, table

    price = schedule.at(now_s)
    tier = "" if known.model.service_tier == "standard" else f", tier {known.model.service_tier}"
    print(safe(f"{known.name} ({known.model.vendor_model_id}{tier})"))
    if price is None:
        why = schedule.why or "the first of its prices is of a later day"
        print(f"no price: {safe(why)}; a hard budget in US dollars denies it")
        return
    shown = _figures(price)
    table(
        ("what", "US dollars"),
        ((what, _dollars(what, value)) for what, value in shown.items() if _tells(what, shown)),
        right=1,
    )
    note(f"from {schedule.origin}, version {price.version}")
    for dated in schedule.prices:
        if dated.price is not price:
            hours = f", {_hour(dated.from_s)} to {_hour(dated.until_s)} UTC"
            when = hours if (dated.from_s, dated.until_s) != (0, 86_400) else ""
            ours = f"input {_dollars('input', dated.price.input_usd_picos)}, "
            ours += f"output {_dollars('output', dated.price.output_usd_picos)}"
            since = f"from {_day(dated.since_s)}" if dated.since_s else "at first"
            note(f"{since}{when}: {ours}")


def _tells(what: str, figures: dict[str, int]) -> bool:
    """Whether a line of its own tells more than that of the class around it."""
    name, above, more = what.partition(" above ")
    around = "output" if "output" in name else "input"
    return name not in CLASSES or name == around or figures[what] != figures[around + above + more]


def written(one: Difference) -> tuple[str, str, str]:
    """What the document says, what the list says, and how far that is apart, for people."""
    ours, theirs = one.document_usd_picos, one.list_usd_picos
    off = f"{(ours - theirs) * 100 / theirs:+.1f} %" if ours is not None and theirs else "-"
    document = "-" if ours is None else _dollars(one.what, ours)
    return document, "-" if theirs is None else _dollars(one.what, theirs), off


def _dollars(what: str, picos: int) -> str:
    # A trillionth of a dollar a token is a millionth of a dollar a million tokens.
    fee = what.startswith("a ")
    decimals = 12 if fee else 6
    whole, rest = divmod(picos, 10**decimals)
    cents = f"{rest:0{decimals}d}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{cents}{'' if fee else ' /M'}"


def _day(since_s: int) -> str:
    return datetime.fromtimestamp(since_s, UTC).strftime("%Y-%m-%d") if since_s else ""


def _hour(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"
