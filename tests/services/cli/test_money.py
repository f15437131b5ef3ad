"""What people see of money, on a real mesh: every figure is the ledger's."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

TENANT = "acme/retail/support"
SPREAD_S = 20
THIS_MONTH = datetime.now(UTC).strftime("%Y-%m")


@pytest.fixture(scope="module")
def spent(mesh: Path) -> int:
    """How many calls the mesh answered, at the least, before these tests look."""
    from harmost.client import Client

    key = (mesh / "admin.key").read_text().strip()
    address = json.loads((mesh / "endpoints.json").read_text())["router"]
    with Client(address, key=key) as client:
        for _ in range(3):
            list(client.stream("hello", "hi", tenant=TENANT))
    return 3


def until(ask: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What `ask` answers once it `holds`: a settlement follows its answer."""
    deadline = time.monotonic() + SPREAD_S
    while True:
        found = ask()
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_budget_shows_its_burn_and_how_long_it_lasts(at: Any, spent: int) -> None:
    found = until(
        lambda: at("budget", "show", TENANT, "--json").json,
        lambda budgets: any(sum(one["burn_by_minute"]) for one in budgets),
    )
    money = next(one for one in found if one["unit"] == "usd_nanos")
    assert sum(money["burn_by_minute"]) <= money["settled"]
    assert money["left"] == money["limit"] - money["settled"] - money["held"] - money["leased"]
    shown = at("budget", "show").out
    assert "support-daily" in shown
    assert "█ settled" in shown
    assert "/h" in shown


def test_top_names_who_burns_most(at: Any, spent: int) -> None:
    ran = until(
        lambda: at("budget", "top", "--once", "--by", "model", "--json"),
        lambda ran: ran.code == 0 and sum(one["attempts"] for one in ran.json) >= spent,
    )
    first, *others = ran.json
    assert first["usd_nanos"] > 0
    assert all(other["usd_nanos"] <= first["usd_nanos"] for other in others)
    assert sum(first["by_minute"]) >= first["usd_nanos"]
    assert first["name"] in at("budget", "top", "--once", "--by", "model").out


def test_top_goes_on_until_it_is_interrupted(spent: int, mesh: Path) -> None:
    words = ("budget", "top", "--json", "--interval", "0.5", "--data", str(mesh))
    with subprocess.Popen(
        [sys.executable, "-m", "harmost.services.cli", *words],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
    ) as top:
        try:
            assert top.stdout is not None
            looks = [json.loads(top.stdout.readline()) for _ in range(2)]
            assert all(isinstance(look, list) for look in looks)
            top.send_signal(signal.SIGINT)
            assert top.wait(SPREAD_S) == 0
        finally:
            top.kill()


def test_chargeback_is_the_sum_of_the_ledgers_rows_in_every_form(at: Any, spent: int) -> None:
    words = ("chargeback", "--month", THIS_MONTH, "--by", "tenant,model,profile")
    report = until(
        lambda: at(*words, "--json").json, lambda report: report["total"]["attempts"] >= spent
    )
    for name, total in report["total"].items():
        assert sum(line[name] for line in report["lines"]) == total
    rows = list(csv.DictReader(io.StringIO(at(*words, "--csv").out)))
    assert [row["tenant"] for row in rows[:-1]] == [line["tenant"] for line in report["lines"]]
    assert rows[-1]["tenant"] == "TOTAL"
    nanos = [int(row["usd"].replace(".", "")) for row in rows]
    assert sum(nanos[:-1]) == nanos[-1] == report["total"]["usd_nanos"]
    ran = at(*words)
    assert ran.code == 0
    assert "total" in ran.out
    assert "ledger rows" in ran.err


def test_chargeback_of_the_first_level_adds_up_what_is_below(at: Any, spent: int) -> None:
    report = at("chargeback", "--month", THIS_MONTH, "--levels", "1", "--json").json
    # The mesh is the session's: a correction of another test may stand on a line of its own.
    assert {line["tenant"] for line in report["lines"] if line["attempts"]} == {"acme"}
    other = at("chargeback", "--month", "1999-12", "--json").json
    assert other["lines"] == []
    assert set(other["total"].values()) == {0}


def test_chargeback_goes_to_a_file(at: Any, spent: int, tmp_path: Path) -> None:
    out = tmp_path / "november.csv"
    ran = at("chargeback", "--month", THIS_MONTH, "--csv", "-o", str(out))
    assert (ran.code, ran.out) == (0, "")
    assert out.read_text().splitlines()[-1].startswith("TOTAL,")


def test_a_correction_moves_the_balance_and_stands_in_the_report(at: Any, spent: int) -> None:
    def settled() -> int:
        found = at("budget", "show", "--json").json
        return next(int(one["settled"]) for one in found if one["name"] == "acme-monthly")

    def corrected() -> tuple[int, int]:
        total = at("chargeback", "--month", THIS_MONTH, "--json").json["total"]
        return total["corrections"], total["corrected_usd_nanos"]

    count, nanos = corrected()
    before = settled()
    words = ("budget", "adjust", "acme-monthly", "1.25", "--reason", "a test", "--json")
    made = at(*words, "--idempotency-key", "once").json
    again = at(*words, "--idempotency-key", "once").json
    assert made["sequence"] == again["sequence"]
    assert settled() == before + 1_250_000_000
    back = at("budget", "adjust", "acme-monthly", "-1.25", "--reason", "back")
    assert (back.code, settled()) == (0, before)
    assert back.out.startswith("row ")
    assert corrected() == (count + 2, nanos)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("chargeback", "--month", "2026-13"), "`2026-13` is no month: write it like 2026-11"),
        (("chargeback", "--month", "november"), "is no month"),
        (("chargeback", "--month", "2026-11", "--timezone", "Mars/Olympus"), "is no time zone"),
        (("chargeback", "--month", "2026-11", "--by", "mood"), "`mood` is not known"),
        (("chargeback", "--month", "2026-11", "--csv", "--json"), "choose one of"),
        (("budget", "entries", "--kind", "gift"), "`gift` is no kind: use reserve, settle"),
        (("budget", "entries", "--since", "yesterday"), "`yesterday` is no time"),
        (("budget", "entries", "--limit", "0"), "--limit"),
        (("budget", "top", "--by", "mood"), "`mood` is not known"),
        (("budget", "adjust", "b", "1000000000.01", "--reason", "r"), "at once: correct in parts"),
        (("budget", "adjust", "b", "99999999999999999999", "--reason", "r"), "at once"),
        (("budget", "adjust", "b", "1e3", "--reason", "r"), "`1e3` is no amount: write US dollars"),
        (("budget", "adjust", "b", "2.5", "--reason", "r", "--unit", "tokens"), "write a whole number"),
        (("budget", "adjust", "b", "1", "--reason", "r", "--unit", "euro"), "`euro` is no unit"),
        (("budget", "adjust", "b", "1", "--reason", "r", "--window", "year"), "`year` is no window"),
        (("budget", "adjust", "b", "1"), "--reason"),
    ],
)  # fmt: skip
def test_who_types_a_wrong_thing_is_told_what_to_do(
    harmost: Any, words: tuple[str, ...], message: str
) -> None:
    ran = harmost(*words)
    assert ran.code != 0
    assert message in " ".join(ran.err.replace("│", " ").split())


def test_a_budget_that_does_not_exist_cannot_be_corrected(at: Any) -> None:
    ran = at("budget", "adjust", "nobody", "1", "--reason", "r")
    assert ran.code == 1
    assert "budget `nobody` does not exist: see `harmost budget show`" in ran.err
    ran = at("budget", "show", "acme/nobody")
    assert ran.code == 1
    assert "no budget is at or below `acme/nobody`: see `harmost budget show`" in ran.err


def test_entries_are_listed_newest_first_and_by_what_is_asked(at: Any, spent: int) -> None:
    ran = until(
        lambda: at("budget", "entries", "--kind", "settle", "--json"),
        lambda ran: len(ran.out.splitlines()) >= spent,
    )
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert {row["kind"] for row in rows} == {"settle"}
    assert [row["sequence"] for row in rows] == sorted((r["sequence"] for r in rows), reverse=True)
    priced = next(row for row in rows if row["price_version"])
    assert priced["price_version"].startswith("document#")
    one = at("budget", "entries", "--attempt", rows[0]["attempt_id"], "--json").out.splitlines()
    assert rows[0]["attempt_id"] in {json.loads(line)["attempt_id"] for line in one}
    few = at("budget", "entries", "--limit", "2", "--since", "1h", "--tenant", TENANT)
    assert few.code == 0
    assert "2 rows; there may be more" in few.err
    assert rows[0]["attempt_id"] in at("budget", "entries", "--limit", "500").out
    assert at("budget", "entries", "--until", "24h", "--json").out == ""


def test_a_running_ledger_is_proven(at: Any, spent: int, mesh: Path) -> None:
    told = at("ledger", "verify", "--json")
    assert (told.code, told.json["adds_up"], told.json["findings"]) == (0, True, [])
    assert told.json["attempts_settled"] >= spent
    assert "adds up" in at("ledger", "verify").err
    in_use = at("ledger", "verify", str(mesh))
    assert (in_use.code, "is in use by a running service" in in_use.err) == (1, True)


PRICED = """\
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: gateway, tenant: acme}
spec: {codec: openai, base_url: "http://127.0.0.1:1/v1", price_list: openai}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: mini, tenant: acme}
spec: {provider: gateway, vendor_model_id: gpt-4o-mini, price: {input: "0.30", output: "0.60"}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: listed, tenant: acme}
spec: {provider: gateway, vendor_model_id: gpt-4o}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: nameless, tenant: acme}
spec: {provider: gateway, vendor_model_id: never-sold}
"""


def test_prices_of_documents_are_held_against_the_list(at: Any, tmp_path: Path) -> None:
    file = tmp_path / "priced.yaml"
    file.write_text(PRICED)
    assert at("apply", "-f", str(file)).code == 0
    told = at("prices", "diff", "--json").json
    found = {(one["model"], one["what"]): one for one in told["differences"]}
    assert found["mini", "input"]["document_usd_picos"] == 300_000
    assert found["mini", "input"]["list_usd_picos"] == 150_000
    assert ("mini", "output") not in found
    assert [one["model"] for one in told["without_price"]] == ["nameless"]
    ran = at("prices", "diff", "--exit-code")
    assert ran.code == 1
    assert "+100.0 %" in ran.out
    assert "no model `never-sold` of `openai`" in ran.out
    assert at("prices", "show", "listed", "--json").json["price"]["input_usd_picos"] == 2_500_000
    missing = at("prices", "show", "nobody")
    assert (missing.code, "there is no model `nobody`" in missing.err) == (1, True)
    models = {one["name"]: one for one in at("models", "--json").json}
    assert models["listed"]["input_usd_picos_per_token"] == 2_500_000
    assert models["nameless"]["input_usd_picos_per_token"] is None
    for kind, name in (("model", "mini"), ("model", "listed"), ("model", "nameless"), ("provider", "gateway")):  # fmt: skip
        assert at("delete", kind, name).code == 0
