"""Parts of a hold: a mission's money is held once, its attempts take theirs out of that."""

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.budget.ledger import Counter, Hold, reserve

USD, TOKENS, REQUESTS = 1, 2, 3


def counter(unit: int = USD, limit: int = 100) -> Counter:
    return Counter(1, unit=unit, limit=limit, hard=True)


def held(*counters: Counter, usd: int = 0, tokens: int = 0) -> Hold:
    hold = reserve(
        counters,
        usd_nanos=usd,
        tokens=tokens,
        minimum_usd_nanos=usd,
        minimum_tokens=tokens,
        requests=0,
    )
    assert isinstance(hold, Hold)
    return hold


def part_of(
    whole: Hold, *beside: Counter, usd: int = 0, tokens: int = 0, requests: int = 0
) -> Hold:
    part = whole.part(
        beside, usd_nanos=usd, tokens=tokens, minimum_tokens=tokens, requests=requests
    )
    assert isinstance(part, Hold)
    return part


def test_a_part_takes_its_money_from_its_whole_and_returns_what_it_does_not_use() -> None:
    money = counter(limit=100)
    whole = held(money, usd=80)
    part = part_of(whole, usd=50)
    assert (part.whole, part.counters, whole.usd_nanos, money.held) == (whole, (money,), 30, 80)
    assert whole.part((), usd_nanos=31, tokens=0, minimum_tokens=0) is None
    part.settle(usd_nanos=20, tokens=0)
    assert (whole.usd_nanos, money.held, money.settled) == (60, 60, 20)
    part_of(whole, usd=60).void()
    assert whole.usd_nanos == 60
    whole.void()
    assert (money.held, money.settled) == (0, 20)


def test_a_part_takes_tokens_and_requests_from_the_counters_beside() -> None:
    money, tokens, requests = (
        counter(limit=100),
        counter(TOKENS, limit=50),
        counter(REQUESTS, limit=2),
    )
    whole = held(money, usd=80)
    part = part_of(whole, tokens, requests, usd=50, tokens=30, requests=1)
    assert part.counters == (money, tokens, requests)
    assert (tokens.held, requests.held, money.held) == (30, 1, 80)
    assert whole.part((tokens,), usd_nanos=1, tokens=21, minimum_tokens=21) is tokens
    assert (whole.usd_nanos, tokens.held) == (30, 30)  # nothing of it is held where it does not fit
    less = whole.part((tokens,), usd_nanos=1, tokens=21, minimum_tokens=20)
    assert isinstance(less, Hold)
    assert (less.tokens, tokens.held) == (20, 50)
    less.void()
    part.settle(usd_nanos=10, tokens=4)
    assert (tokens.held, tokens.settled, requests.settled) == (0, 4, 1)
    assert (whole.usd_nanos, money.held) == (70, 70)


def test_a_part_that_passes_its_share_is_debt_and_takes_nothing_of_its_siblings() -> None:
    money = counter(limit=100)
    whole = held(money, usd=80)
    part_of(whole, usd=50).settle(usd_nanos=70, tokens=0)
    assert (whole.usd_nanos, money.held, money.settled, money.debt) == (30, 30, 70, 20)


def test_what_parts_of_a_closed_whole_do_not_use_is_free() -> None:
    money = counter(limit=100)
    whole = held(money, usd=80)
    part = part_of(whole, usd=50)
    whole.void()
    assert money.held == 50
    assert not part.extend(usd_nanos=1, tokens=0)  # what the whole had is no longer held
    part.settle(usd_nanos=20, tokens=0)
    assert (money.held, money.settled) == (0, 20)
    with pytest.raises(ValueError, match="closed already"):
        whole.part((), usd_nanos=0, tokens=0, minimum_tokens=0)


def test_only_money_is_parted() -> None:
    money, tokens = counter(limit=100), counter(TOKENS, limit=100)
    whole = held(money, usd=80)
    with pytest.raises(ValueError, match="name no counter of money"):
        whole.part((money,), usd_nanos=1, tokens=0, minimum_tokens=0)
    with pytest.raises(ValueError, match="money alone has parts"):
        part_of(whole, usd=50).part((), usd_nanos=1, tokens=0, minimum_tokens=0)
    with pytest.raises(ValueError, match="money alone has parts"):
        held(tokens, usd=0, tokens=1).part((), usd_nanos=0, tokens=0, minimum_tokens=0)
    with pytest.raises(ValueError, match="a minimum must not be"):
        whole.part((), usd_nanos=1, tokens=1, minimum_tokens=2)
    assert whole.usd_nanos == 30 + 50 - 50  # what the open part has


def test_a_part_grows_out_of_its_whole() -> None:
    money, tokens = counter(limit=100), counter(TOKENS, limit=10)
    whole = held(money, usd=80)
    part = part_of(whole, tokens, usd=50)
    assert not part.extend(usd_nanos=31, tokens=0)
    assert not part.extend(usd_nanos=1, tokens=11)
    assert part.extend(usd_nanos=30, tokens=10)
    assert (part.usd_nanos, whole.usd_nanos, money.held, tokens.held) == (80, 0, 80, 10)


@given(st.data())
@settings(max_examples=effort(100, ci=500, nightly=20_000), deadline=None)
def test_parts_are_what_a_list_of_amounts_says(data: st.DataObject) -> None:
    """The slow twin: a whole is a number, each part another."""
    money, tokens = counter(limit=10**6), counter(TOKENS, limit=10**6)
    whole, left = held(money, usd=1_000), 1_000
    parts: list[tuple[Hold, int, int]] = []
    settled = used_tokens = 0
    for _ in range(data.draw(st.integers(0, 20))):
        if parts and data.draw(st.booleans()):
            part, usd, _ = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
            used, used_of_tokens = data.draw(st.integers(0, 2 * usd)), data.draw(st.integers(0, 9))
            part.settle(usd_nanos=used, tokens=used_of_tokens, requests=0)
            settled, used_tokens = settled + used, used_tokens + used_of_tokens
            left += max(0, usd - used) if whole.open else 0
        elif not whole.open or data.draw(st.integers(0, 9)) == 0:
            if whole.open:
                whole.void()
        else:
            usd, of_tokens = data.draw(st.integers(0, 1_200)), data.draw(st.integers(0, 9))
            found = whole.part(
                (tokens,), usd_nanos=usd, tokens=of_tokens, minimum_tokens=of_tokens, requests=0
            )
            assert (found is None) == (usd > left)
            if isinstance(found, Hold):
                left -= usd
                parts.append((found, usd, of_tokens))
        in_parts = sum(usd for _, usd, _ in parts)
        assert money.held == in_parts + (left if whole.open else 0)
        assert tokens.held == sum(of_tokens for _, _, of_tokens in parts)
        assert (money.settled, tokens.settled) == (settled, used_tokens)
