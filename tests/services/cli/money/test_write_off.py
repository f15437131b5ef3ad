"""`harmost budget write-off` on a real mesh: a Router played by hand leaves something in suspense."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.errors import InvalidInput, NotFound
from harmost.services.cli.money.write_off import chosen_epoch
from harmost.services.transport import bearer

LENT = 1_000  # nanodollars, of each epoch


def leave_in_suspense(mesh: Path, router: str, epochs: int) -> str:
    """Begin one epoch more than `epochs`, each lent something; the budget's name."""
    key = (mesh / "service.key").read_text().strip()
    address = json.loads((mesh / "endpoints.json").read_text())["budget"]
    with grpc.insecure_channel(address) as channel:
        stub = budget_pb2_grpc.BudgetServiceStub(channel)
        budgets = stub.ListBudgets(pb.ListBudgetsRequest(), metadata=bearer(key)).budgets
        one = next(b for b in budgets if b.unit == pb.UNIT_USD_NANOS and b.enforcement == 1)

        def say(message: pb.SyncLeasesRequest) -> pb.SyncLeasesResponse:
            return next(stub.SyncLeases(iter([message]), metadata=bearer(key), timeout=20))

        for _ in range(epochs):
            registered = say(pb.SyncLeasesRequest(router_id=router))
            ask = pb.LeaseAsk(
                budget=one.name, unit=one.unit, window=one.window, amount=LENT, needed=LENT
            )
            say(
                pb.SyncLeasesRequest(
                    router_id=router, epoch=registered.epoch, sequence=1, asks=[ask]
                )
            )
        say(pb.SyncLeasesRequest(router_id=router))
    return str(one.name)


def test_suspense_is_shown_and_written_off_by_epoch(at: Any, mesh: Path) -> None:
    budget = leave_in_suspense(mesh, "lost", 2)
    shown = at("budget", "write-off", "lost", "--json").json
    assert [(s["epoch"], s["ended"], s["amount"]) for s in shown["suspense"]] == [
        (1, True, LENT),
        (2, True, LENT),
    ]
    assert shown["written_off"] == []
    assert "wait for its journal, or write off" in at("budget", "write-off").out
    several = at("budget", "write-off", "lost", "--reason", "disk gone", "--yes")
    assert several.code == 1
    assert "choose one of 1, 2 with `--epoch`" in several.err
    words = ("budget", "write-off", "lost", "--reason", "disk gone", "--yes")
    done = at(*words, "--epoch", "1", "--json").json
    (row,) = done["written_off"]
    assert (row["kind"], row["delta"], row["budget"]) == ("adjust", LENT, budget)
    assert (row["author"], row["reason"]) == ("admin", "disk gone")
    assert [left["epoch"] for left in done["suspense"]] == [2]
    last = at(*words)
    assert last.code == 0
    assert "epoch 2 of `lost` is written off: ledger rows" in last.out
    assert at("budget", "write-off", "lost", "--json").json["suspense"] == []


def test_nothing_is_written_off_before_somebody_says_yes(at: Any, mesh: Path) -> None:
    leave_in_suspense(mesh, "unsure", 1)
    ran = at("budget", "write-off", "unsure", "--reason", "disk gone")  # nobody is there to ask
    assert ran.code == 1
    (left,) = at("budget", "write-off", "unsure", "--json").json["suspense"]
    assert left["amount"] == LENT


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--reason", "x"), "name the Router"),
        (("r", "--epoch", "1"), "say why with --reason"),
        (("r", "--yes"), "say why with --reason"),
    ],
)
def test_what_is_missing_is_named_before_anybody_is_asked(
    harmost: Any, words: tuple[str, ...], told: str
) -> None:
    ran = harmost("budget", "write-off", *words)
    assert ran.code == 2
    assert told in ran.err


def test_only_an_epoch_that_has_ended_can_be_chosen() -> None:
    found = [pb.Suspense(epoch=3, ended=True), pb.Suspense(epoch=5, ended=False)]
    assert chosen_epoch(found, "r", 0) == chosen_epoch(found, "r", 3) == 3
    with pytest.raises(NotFound, match="epoch `4` of `r` left nothing: choose one of 3"):
        chosen_epoch(found, "r", 4)
    with pytest.raises(NotFound, match="its epoch has not ended"):
        chosen_epoch(found[1:], "r", 5)
    with pytest.raises(NotFound, match="nothing of Router `r`"):
        chosen_epoch([], "r", 0)
    with pytest.raises(InvalidInput, match="choose one of 3, 4"):
        chosen_epoch([*found, pb.Suspense(epoch=4, ended=True)], "r", 0)
