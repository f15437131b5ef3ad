"""Which ceilings a path meets."""

import pytest

from harmost.core.budget.lease import LeaseName
from harmost.core.budget.nodes import BudgetLimits, BudgetPath, Unit, compile_limits
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata

DAY = Limit(window="day", usd="10")
PATH = BudgetPath("acme/retail", profile="hello", agent_id="bot", end_user_id="ann")


def limits(**documents: tuple[str, BudgetSpec]) -> BudgetLimits:
    return compile_limits(
        {
            name: (Metadata(name=name, tenant=tenant), spec)
            for name, (tenant, spec) in documents.items()
        }
    )


def names(found: BudgetLimits, path: BudgetPath) -> list[str]:
    return [limit.budget for limit in found.on_path(path)]


def test_a_path_meets_its_tenant_and_all_above_it_from_the_root_down() -> None:
    found = limits(
        leaf=("acme/retail", BudgetSpec(limits=(DAY,))),
        top=("acme", BudgetSpec(limits=(DAY,))),
        all=("", BudgetSpec(limits=(DAY,))),
        below=("acme/retail/support", BudgetSpec(limits=(DAY,))),
        beside=("acme/retailers", BudgetSpec(limits=(DAY,))),
        other=("globex", BudgetSpec(limits=(DAY,))),
    )
    assert names(found, PATH) == ["all", "top", "leaf"]


def test_a_filter_limits_only_what_it_names() -> None:
    found = limits(
        profile=("acme", BudgetSpec(limits=(DAY,), profile="hello")),
        agent=("acme/retail", BudgetSpec(limits=(DAY,), agent="bot")),
        user=("acme", BudgetSpec(limits=(DAY,), end_user="ann")),
        other=("acme", BudgetSpec(limits=(DAY,), end_user="bob")),
    )
    assert names(found, PATH) == ["profile", "user", "agent"]
    assert names(found, BudgetPath("acme/retail")) == []


def test_nodes_are_named_by_kind_and_place() -> None:
    found = limits(
        a=("acme/retail", BudgetSpec(limits=(DAY,))),
        b=("acme/retail", BudgetSpec(limits=(DAY,), profile="hello")),
        c=("acme", BudgetSpec(limits=(DAY,), agent="bot")),
        d=("acme", BudgetSpec(limits=(DAY,), end_user="ann")),
    )
    nodes = {limit.budget: limit.node for limit in found.all}
    assert nodes == {
        "a": "tenant:acme/retail",
        "b": "profile:acme/retail/hello",
        "c": "agent:acme/bot",
        "d": "user:acme/ann",
    }


def test_limits_are_whole_numbers_in_their_unit() -> None:
    spec = BudgetSpec(
        limits=(
            Limit(window="day", usd="0.02", warn_at_percent=50),
            Limit(window="month", tokens=7, enforcement="soft"),
            Limit(window="minute", requests=3),
        )
    )
    found = [
        (limit.unit, limit.window, limit.limit, limit.hard, limit.warn_at_permille)
        for limit in limits(mixed=("acme", spec)).of("mixed")
    ]
    assert found == [
        (Unit.USD_NANOS, "day", 20_000_000, True, 500),
        (Unit.TOKENS, "month", 7, False, 800),
        (Unit.REQUESTS, "minute", 3, True, 800),
    ]


def test_all_are_in_order_of_node_and_name() -> None:
    found = limits(
        b=("acme", BudgetSpec(limits=(DAY,))),
        a=("acme", BudgetSpec(limits=(DAY,))),
        c=("aaa", BudgetSpec(limits=(DAY,))),
    )
    assert [limit.budget for limit in found.all] == ["c", "a", "b"]


def test_an_unknown_budget_has_no_limits() -> None:
    assert limits().of("none") == ()


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (BudgetSpec(limits=(DAY,), profile="a", agent="b"), "more than one of"),
        (BudgetSpec(limits=(Limit(window="day"),)), "exactly one of"),
        (BudgetSpec(limits=(Limit(window="day", usd="1", tokens=1),)), "exactly one of"),
        (BudgetSpec(limits=(Limit(window="day", usd="lots"),)), "is not a decimal number"),
        (BudgetSpec(limits=(Limit(window="day", tokens=-1),)), "is not within"),
        (BudgetSpec(limits=(Limit(window="day", usd="1", warn_at_percent=101),)), "0 to 100"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(spec: BudgetSpec, problem: str) -> None:
    with pytest.raises(ValueError, match=f"budget `odd`: .*{problem}"):
        limits(odd=("acme", spec))


def test_a_hard_limit_of_a_minute_is_a_rate_and_no_balance() -> None:
    spec = BudgetSpec(
        limits=(
            DAY,
            Limit(window="minute", requests=9),
            Limit(window="minute", requests=5),
            Limit(window="minute", tokens=7, enforcement="soft"),
        )
    )
    found = limits(mixed=("acme", spec))
    assert found.rates == {LeaseName("mixed", 3, "minute"): 5}
    assert [(limit.window, limit.hard) for limit in found.balanced().all] == [
        ("day", True),
        ("minute", False),
    ]
    assert found.balanced().rates == {}
