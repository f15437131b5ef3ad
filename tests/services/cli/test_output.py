"""How values are shown: money exact, terminals safe, protos as plain JSON."""

from datetime import UTC, datetime
from typing import Any

import pytest

from harmost.budget.v1 import budget_pb2
from harmost.common.v1 import decision_pb2
from harmost.core.errors import InvalidInput
from harmost.services.cli import output
from harmost.services.cli.moments import moment, seconds
from harmost.services.cli.output import safe, table, usd
from harmost.services.cli.plain import plain
from harmost.telemetry.v1 import telemetry_pb2


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_500_000_000, "$1.50"),
        (-250_000_000, "-$0.25"),
        (10**18, "$1000000000.00"),
        (123_456_789_012_345_678, "$123456789.012345678"),
    ],
)
def test_money_is_shown_exactly(nanos: int, text: str) -> None:
    assert usd(nanos) == text


def test_a_models_text_cannot_drive_the_terminal() -> None:
    assert safe("a\tb\n") == "a\tb\n"
    assert safe("\x1b[2J\x07\x9b31m\r\x7f") == "\ufffd[2J\ufffd\ufffd31m\ufffd\ufffd"


def test_protos_become_plain_values() -> None:
    entry = budget_pb2.Entry(sequence=2**60, kind=budget_pb2.ENTRY_KIND_SETTLE)
    entry.created_at.FromSeconds(0)
    found = plain(entry)
    assert found["sequence"] == 2**60
    assert found["kind"] == "settle"
    assert found["created_at"] == "1970-01-01T00:00:00Z"
    assert (found["usage"], found["budget"]) == (None, "")


def test_maps_lists_and_unknown_enums_become_plain_values() -> None:
    record = telemetry_pb2.Record(labels={"b": "2", "a": "1"}, steps=["x"])
    record.decision.rules.add(effect=decision_pb2.EFFECT_CAP_TOKENS, citations=["GDPR"])
    record.status = 99  # type: ignore[assignment]
    found = plain(record)
    assert list(found["labels"].items()) == [("a", "1"), ("b", "2")]
    assert found["steps"] == ["x"]
    assert found["decision"]["rules"][0]["effect"] == "cap_tokens"
    assert (found["status"], found["decision"]["effect"]) == ("99", "")


def test_spans_and_moments() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert [seconds(text) for text in ("90s", "15m", "1h", "7d")] == [90, 900, 3_600, 604_800]
    assert moment("1d", now=now) == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment("2026-01-01", now=now) == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput):
        moment("999999999d", now=now)


def told(columns: list[str], rows: list[list[str]], right: int, width: int, capsys: Any) -> str:
    table(columns, rows, right=right)
    text: str = capsys.readouterr().out
    assert all(len(one.rstrip()) <= width for one in text.splitlines())
    return "".join(text.split())


def test_a_narrow_terminal_loses_nothing_of_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(output, "WIDTH_NOT_A_TERMINAL", 80)
    head = ["tenant", "attempts", "tokens", "cost", "share", "debt", "without price", "corrected"]
    row = ["acme/retail", "1,000", "999,999", "$0.00203515", "98.1 %", "-", "-", "$1.00 (1)"]
    text = told(head, [row], 7, 80, capsys)
    assert "\u2026" not in text
    assert all("".join(cell.split()) in text for cell in row[1:])


def test_a_table_too_wide_for_the_terminal_is_told_row_by_row(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(output, "WIDTH_NOT_A_TERMINAL", 44)
    rows = [["18eb231e088b5aa2feff6af5867079a7", "acme", "hello", "$0.0010175", "1,000,000"]]
    text = told(["record", "tenant", "profile", "cost", "tokens"], rows, 2, 44, capsys)
    assert "record18eb231e088b5aa2feff6af5867079a7tenantacme" in text
