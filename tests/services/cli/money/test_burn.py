"""Rates and forecasts from sums of minutes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.nodes import BudgetPath, compile_limits
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.services.cli.money.burn import MINUTES, Burn, NodeSums, burns, forecast, nodes_of


def row(minute: int = 1, usd_nanos: int = 900, **fields: Any) -> NodeSums:
    names = {"tenant": "acme/retail", "profile": "", "agent_id": "", "end_user_id": ""} | fields
    return NodeSums(minute=minute, usd_nanos=usd_nanos, tokens=30, attempts=2, **names)


def burn(per_hour: int) -> Burn:
    return Burn((0,) * MINUTES, per_hour)


def test_use_counts_for_every_level_above_it() -> None:
    nodes = [("tenant:acme", 1), ("tenant:acme/retail", 2), ("tenant:", 3), ("tenant:globex", 1)]
    found = burns([row()], nodes)
    assert [sum(found[node].by_minute) for node in nodes] == [900, 30, 2, 0]


def test_a_minute_stands_where_it_was() -> None:
    found = burns([row(minute=0), row(minute=59), row(minute=60)], [("tenant:acme", 1)])
    by_minute = found["tenant:acme", 1].by_minute
    assert (by_minute[-1], by_minute[0], sum(by_minute)) == (900, 900, 1_800)


def test_the_rate_is_that_of_the_last_quarter_of_an_hour_without_the_running_minute() -> None:
    rows = [row(minute=minute) for minute in range(60)]
    assert burns(rows, [("tenant:acme", 1)])["tenant:acme", 1].per_hour == 900 * 60
    assert burns([row(minute=0)], [("tenant:acme", 1)])["tenant:acme", 1].per_hour == 0
    assert burns([row(minute=15)], [("tenant:acme", 1)])["tenant:acme", 1].per_hour == 3_600
    assert burns([row(minute=16)], [("tenant:acme", 1)])["tenant:acme", 1].per_hour == 0


@pytest.mark.parametrize(
    ("left", "per_hour", "resets_in_s", "exhausted_in_s"),
    [
        (0, 0, None, 0),
        (-5, 100, 60, 0),
        (100, 0, None, None),
        (100, 100, None, 3_600),
        (100, 100, 3_600, None),
        (100, 100, 3_601, 3_600),
        (10**18, 1, None, 3_600 * 10**18),
    ],
)
def test_forecast(
    left: int, per_hour: int, resets_in_s: int | None, exhausted_in_s: int | None
) -> None:
    assert forecast(left, burn(per_hour), resets_in_s).exhausted_in_s == exhausted_in_s


names = st.sampled_from(["", "a", "b/c"])


@given(st.sampled_from(["acme", "acme/retail", "acme/retail/x"]), names, names, names)
def test_nodes_are_those_that_the_ledger_charges(
    tenant: str, profile: str, agent: str, user: str
) -> None:
    """Against the core: documents at every node of the path, each found by both or by neither."""
    narrowings = [{}, {"profile": "a"}, {"profile": "b/c"}, {"agent": "a"}, {"end_user": "b/c"}]
    owners = ["", "acme", "acme/retail", "globex"]
    documents = {
        f"{owner}{number}": (
            Metadata(name=f"{owner}{number}", tenant=owner),
            BudgetSpec(limits=(Limit(window="day", usd="1"),), **narrowing),
        )
        for owner in owners
        for number, narrowing in enumerate(narrowings)
    }
    limits = compile_limits(documents)
    charged = {limit.node for limit in limits.on_path(BudgetPath(tenant, profile, agent, user))}
    nodes = set(nodes_of(row(tenant=tenant, profile=profile, agent_id=agent, end_user_id=user)))
    assert {limit.node for limit in limits.all} & nodes == charged
