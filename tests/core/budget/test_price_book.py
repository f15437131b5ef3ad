"""Which price holds when: dates, the built-in list behind documents, and what is said of none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget import price_book
from harmost.core.budget.price import ModelPrice, compile_price
from harmost.core.budget.price_book import (
    DAY_S,
    DatedPrice,
    PriceBook,
    PriceSchedule,
    compile_schedule,
)
from harmost.core.resources.kinds import ModelSpec, Price, ProviderSpec

OPENAI = ProviderSpec(codec="openai", base_url="https://api.openai.com/v1")
OWN = ProviderSpec(codec="openai", base_url="http://10.0.0.7:8000/v1")
NEW_YEAR_S = 1_767_225_600  # 2026-01-01


def schedule(provider: ProviderSpec = OPENAI, **fields: object) -> PriceSchedule:
    spec = {"provider": "p", "vendor_model_id": "gpt-4o-mini", **fields}
    return compile_schedule(ModelSpec(**spec), provider)  # type: ignore[arg-type]


def dated(*days: str) -> tuple[Price, ...]:
    return tuple(
        Price(from_=day, input=str(number), output="1") for number, day in enumerate(days, 1)
    )


def input_picos(found: ModelPrice | None) -> int | None:
    return found.input_usd_picos if found else None


def test_a_model_without_a_price_costs_what_the_list_says_of_its_vendor() -> None:
    found = schedule().at(NEW_YEAR_S)
    assert found is not None
    assert (found.input_usd_picos, found.output_usd_picos) == (150_000, 600_000)
    assert found.version.startswith("genai-prices ")


def test_a_documents_own_price_comes_before_the_list() -> None:
    found = schedule(price=Price(input="9", output="9")).at(0)
    assert input_picos(found) == 9_000_000
    assert found is not None
    assert found.version.startswith("document#")


def test_a_model_at_an_unknown_url_has_no_price_and_says_why() -> None:
    found = schedule(OWN)
    assert found.at(NEW_YEAR_S) is None
    assert found.why == "no vendor of the built-in list is known by the provider's `base_url`"


def test_a_provider_can_name_whose_list_holds() -> None:
    gateway = ProviderSpec(codec="openai", base_url="http://10.0.0.7/v1", price_list="openai")
    assert input_picos(schedule(gateway).at(0)) == 150_000


def test_a_list_that_does_not_exist_is_refused() -> None:
    gateway = ProviderSpec(codec="openai", base_url="http://10.0.0.7/v1", price_list="opnai")
    with pytest.raises(ValueError, match="the built-in list has no vendor `opnai`: it knows"):
        schedule(gateway)


def test_a_price_can_be_said_to_be_unknown() -> None:
    found = schedule(price="unknown")
    assert found.at(NEW_YEAR_S) is None
    assert found.why == "its document says `price: unknown`"


def test_a_model_that_the_list_does_not_have_has_no_price() -> None:
    found = schedule(vendor_model_id="never-sold")
    assert found.at(NEW_YEAR_S) is None
    assert found.why == "the built-in list has no model `never-sold` of `openai`"


def test_a_service_tier_takes_the_lists_price_of_it() -> None:
    flex = schedule(vendor_model_id="o3", service_tier="flex").at(NEW_YEAR_S + 365 * DAY_S)
    standard = schedule(vendor_model_id="o3").at(NEW_YEAR_S + 365 * DAY_S)
    assert flex is not None
    assert standard is not None
    assert flex.output_usd_picos * 2 == standard.output_usd_picos


def test_prices_follow_each_other_by_their_days() -> None:
    prices = schedule(price=dated("", "2026-01-01", "2026-02-01"))
    at = [prices.at(second) for second in (0, NEW_YEAR_S - 1, NEW_YEAR_S, NEW_YEAR_S + 31 * DAY_S)]
    assert [input_picos(one) for one in at] == [1_000_000, 1_000_000, 2_000_000, 3_000_000]


def test_before_its_first_day_a_price_is_not_known() -> None:
    assert schedule(price=dated("2026-01-01")).at(NEW_YEAR_S - 1) is None


@pytest.mark.parametrize("days", [("2026-02-01", "2026-01-01"), ("2026-01-01",) * 2, ("", "")])
def test_days_that_do_not_rise_are_refused(days: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="is not after the one before: sort them"):
        schedule(price=dated(*days))


@pytest.mark.parametrize("day", ["2026-1-1", "20260101", "2026-W01-1", "yesterday", "2026-02-30"])
def test_what_is_no_day_is_refused(day: str) -> None:
    with pytest.raises(ValueError, match="is no day: write it like 2026-01-31"):
        schedule(price=dated(day))


@pytest.mark.parametrize("count", [0, 101])
def test_too_few_or_too_many_prices_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="state 1 to 100"):
        schedule(price=tuple(Price(input="1", output="1") for _ in range(count)))


def test_a_book_answers_the_same_mapping_until_a_price_changes() -> None:
    book = PriceBook({"a": schedule(price=dated("", "2026-01-01")), "b": schedule(OWN)})
    before = book.at(NEW_YEAR_S - DAY_S)
    assert book.at(NEW_YEAR_S - 1) is before
    after = book.at(NEW_YEAR_S)
    assert (input_picos(before["a"]), input_picos(after["a"])) == (1_000_000, 2_000_000)
    assert before["b"] is None


PRICES = [compile_price(Price(input=str(number), output="1")) for number in range(5)]
schedules = st.lists(
    st.tuples(
        st.integers(0, 5).map(lambda day: day * DAY_S),
        st.sampled_from([(0, DAY_S), (0, 7_200), (3_600, 50_000)]),
        st.sampled_from(PRICES),
    ),
    max_size=5,
).map(
    lambda rows: PriceSchedule(
        [
            DatedPrice(since, *hours, price)
            for since, hours, price in sorted(rows, key=lambda r: r[0])
        ],
        origin="test",
    )
)


@given(st.lists(schedules, max_size=3), st.lists(st.integers(0, 7 * DAY_S), max_size=20))
def test_a_book_says_what_its_schedules_say_in_any_order_of_asking(
    found: list[PriceSchedule], seconds: list[int]
) -> None:
    book = PriceBook({str(number): one for number, one in enumerate(found)})
    for second in seconds:
        assert list(book.at(second).values()) == [one.at(second) for one in found]


def test_every_public_name_exists() -> None:
    assert all(hasattr(price_book, name) for name in price_book.__all__)
