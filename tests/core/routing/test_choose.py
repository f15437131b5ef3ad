"""Candidates keep the profile's order; those that cannot serve say why."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from harmost.core.budget.price import compile_price
from harmost.core.policy.decision import Exclusion
from harmost.core.resources.kinds import ModelSpec, Price
from harmost.core.routing.choose import chosen

MODELS = {
    "dear": ModelSpec(provider="p", vendor_model_id="d", price=Price(input="10", output="10")),
    "cheap": ModelSpec(provider="p", vendor_model_id="c", price=Price(input="1", output="1")),
    "middle": ModelSpec(provider="p", vendor_model_id="m", price=Price(input="5", output="5")),
    "twin": ModelSpec(provider="p", vendor_model_id="t", price=Price(input="1", output="1")),
    "unpriced": ModelSpec(provider="p", vendor_model_id="u"),
    "small": ModelSpec(provider="p", vendor_model_id="s", context_tokens_max=50),
    "old": ModelSpec(provider="p", vendor_model_id="o", status="retired"),
}
PRICES = {
    name: compile_price(m.price) if isinstance(m.price, Price) else None
    for name, m in MODELS.items()
}


def choose(
    *names: str,
    input_tokens: int = 100,
    ceiling: int | None = None,
    cheaper_first: bool = False,
    learned: Mapping[str, int] = MappingProxyType({}),
    resting: Collection[str] = (),
) -> tuple[tuple[str, ...], dict[str, str]]:
    kept, left_out = chosen(
        names,
        models=MODELS,
        prices=PRICES,
        input_tokens=input_tokens,
        input_tokens_of=lambda name: learned.get(name, input_tokens),
        output_tokens_max=100,
        usd_nanos_per_1k_tokens_max=ceiling,
        profile="hello",
        cheaper_first=cheaper_first,
        resting=resting,
    )
    return kept, {out.model: message(out) for out in left_out}


def message(out: Exclusion) -> str:
    assert (out.hit.policy, out.hit.rule) == ("profile hello", "choose")
    return out.hit.message


def test_a_budget_that_asks_for_cheaper_models_gets_the_cheapest_first() -> None:
    kept, left_out = choose("unpriced", "dear", "middle", "cheap", cheaper_first=True)
    assert kept == ("cheap", "middle", "dear", "unpriced")
    assert left_out == {}


def test_models_that_rest_come_last_and_are_never_left_out() -> None:
    assert choose("dear", "middle", "cheap", resting={"dear"})[0] == ("middle", "cheap", "dear")
    assert choose("dear", "cheap", cheaper_first=True, resting={"cheap"})[0] == ("dear", "cheap")
    assert choose("dear", "cheap", resting={"dear", "cheap"})[0] == ("dear", "cheap")


def test_what_costs_the_same_keeps_its_order() -> None:
    assert choose("twin", "cheap", cheaper_first=True)[0] == ("twin", "cheap")
    assert choose("cheap", "twin", cheaper_first=True)[0] == ("cheap", "twin")


def test_the_order_of_the_profile_stays() -> None:
    assert choose("dear", "cheap") == (("dear", "cheap"), {})
    assert choose("cheap", "dear") == (("cheap", "dear"), {})


def test_a_retired_model_is_not_tried() -> None:
    kept, left_out = choose("old", "cheap")
    assert kept == ("cheap",)
    assert "retired" in left_out["old"]


def test_input_that_does_not_fit_the_context_leaves_the_model_out() -> None:
    assert choose("small", input_tokens=49)[0] == ("small",)
    assert "50" in choose("small", input_tokens=50)[1]["small"]


def test_the_cost_ceiling_is_for_a_thousand_blended_tokens_and_may_be_met_exactly() -> None:
    # 1 USD a million tokens, in and out, is 0.001 USD a thousand: 1,000,000 nano-USD.
    assert choose("dear", "cheap", ceiling=1_000_000)[0] == ("cheap",)
    assert choose("cheap", ceiling=999_999)[0] == ()


def test_a_model_without_a_price_does_not_pass_a_ceiling() -> None:
    assert "not known" in choose("small", input_tokens=1, ceiling=1)[1]["small"]


def test_what_was_learned_of_a_model_says_whether_input_fits_its_context() -> None:
    assert choose("small", input_tokens=49, learned={"small": 50})[0] == ()
    assert choose("small", input_tokens=60, learned={"small": 40})[0] == ("small",)


def test_what_was_learned_moves_no_price_ceiling() -> None:
    for learned in (1, 1_000_000):
        assert choose("dear", "cheap", ceiling=1_000_000, learned={"dear": learned})[0] == (
            "cheap",
        )
