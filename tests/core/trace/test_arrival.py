"""Trace files: what is read, and what is said of a wrong one."""

from datetime import UTC, datetime

import pytest

from harmost.core.errors import InvalidInput
from harmost.core.trace.arrival import Arrival, csv_lines, read_arrivals

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""


def read(text: str) -> list[Arrival]:
    return read_arrivals(text.splitlines(keepends=True), "t.csv")


def test_azure_rows_keep_their_hundred_nanoseconds() -> None:
    assert read(AZURE) == [Arrival(0, 374, 44), Arrival(4_314_579_000, 396, 109)]


def test_rows_out_of_order_are_put_in_order() -> None:
    header, first, second = AZURE.splitlines()
    assert read(f"{header}\n{second}\n{first}") == read(AZURE)


def test_columns_may_stand_in_any_order_with_spaces_byte_order_mark_and_blank_lines() -> None:
    text = "\ufeffGeneratedTokens, TIMESTAMP ,ContextTokens\n\n9,2026-01-01T00:00:00Z, 7\n"
    assert read(text) == [Arrival(0, 7, 9)]


def test_what_is_written_is_read_again() -> None:
    arrivals = [
        Arrival(0, 1, 2, "acme/retail", "hello"),
        Arrival(100, 3, 4),
        Arrival(86_400_000_000_000, 5, 6, "acme", "bye"),
    ]
    lines = list(csv_lines(arrivals, start=datetime(2026, 1, 1, tzinfo=UTC)))
    assert lines[2] == "2026-01-01 00:00:00.0000001,3,4,,\n"
    assert read_arrivals(lines, "t.csv") == arrivals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"`t.csv` holds no requests"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", r"`t.csv` holds no requests"),
        ("a,b\n1,2\n", r"t.csv:1: column `TIMESTAMP` is missing"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens,Profil\n",
            r"t.csv:1: column `Profil` is unknown",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens,Tenant,Tenant\n", r"`Tenant` is twice there"),
        (AZURE + "2023-11-16 18:15:51,1\n", r"t.csv:4: 2 values for 3 columns"),
        (AZURE + "2023-11-16 18:15:51,-1,2\n", r"t.csv:4: `ContextTokens` is `-1`"),
        (AZURE + "2023-11-16 18:15:51,1,2.5\n", r"t.csv:4: `GeneratedTokens` is `2.5`"),
        (AZURE + "2023-11-16 18:15:51,1,99999999999\n", r"t.csv:4: `GeneratedTokens`"),
        (AZURE + "2023-11-16 18:15:51,1,٣\n", r"t.csv:4: `GeneratedTokens`"),
        (AZURE + "yesterday,1,2\n", r"t.csv:4: `TIMESTAMP` is `yesterday`"),
        (AZURE + "2023-11-16 18:15:51.1x,1,2\n", r"t.csv:4: `TIMESTAMP`"),
        (AZURE + "2023-11-16 18:15:51,1,\0\n", r"t.csv:4: a NUL character"),
        (AZURE + "x" * 5_000 + "\n", r"t.csv:4: the line is longer"),
        (AZURE + 'a,"b\n', r"t.csv:4: not CSV"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(text)
