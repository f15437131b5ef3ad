"""A trace as CSV text to arrivals and back. Reads lines, never files.

Two forms are read, told apart by their columns: that of the Azure LLM inference traces (TIMESTAMP,
ContextTokens, GeneratedTokens) and the same with `Tenant` and `Profile` beside them, as harmost
writes it. Columns may stand in any order; unknown ones are refused, as a misspelt one would be lost.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from harmost.core.errors import InvalidInput

__all__ = ["ARRIVALS_MAX", "COLUMNS", "Arrival", "csv_lines", "read_arrivals"]

ARRIVALS_MAX = 5_000_000  # a day at 57/s; all of it is held in memory, about 150 bytes each
TOKENS_MAX = 10_000_000  # the contract's bound on output tokens, above any context window sold
LINE_CHARS_MAX = 4_096

REQUIRED = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
OPTIONAL = ("Tenant", "Profile")
COLUMNS = REQUIRED + OPTIONAL
NS_PER_S = 1_000_000_000


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One request: nanoseconds since the first one, tokens in and out. "": left to the player."""

    offset_ns: int
    input_tokens: int
    output_tokens: int
    tenant: str = ""
    profile: str = ""


def read_arrivals(lines: Iterable[str], name: str) -> list[Arrival]:
    """The arrivals of a CSV in order of time; `InvalidInput` names `name`:line and what is wrong.

    O(n log n) where the file is not in order of time, else O(n).
    """
    rows = csv.reader(_bounded(lines, name), strict=True)
    columns: list[str] | None = None
    stamped: list[tuple[int, Arrival]] = []
    try:
        for row in rows:
            where = f"{name}:{rows.line_num}"
            if not row:
                continue
            if columns is None:
                columns = _checked_columns(row, where)
            elif len(stamped) >= ARRIVALS_MAX:
                raise InvalidInput(f"{where}: more than {ARRIVALS_MAX} requests: split the trace")
            else:
                stamped.append(_arrival(columns, row, where))
    except csv.Error as error:
        raise InvalidInput(f"{name}:{rows.line_num}: not CSV: {error}") from error
    if not stamped:
        raise InvalidInput(
            f"`{name}` holds no requests: the first line names the columns {_named()}"
        )
    stamped.sort(key=lambda pair: pair[0])
    first_ns = stamped[0][0]
    return [
        msgspec.structs.replace(arrival, offset_ns=stamp_ns - first_ns)
        for stamp_ns, arrival in stamped
    ]


def csv_lines(arrivals: Iterable[Arrival], *, start: datetime) -> Iterator[str]:
    """Lines with their ends, header first; times count from `start` (UTC) in units of 100 ns."""
    yield ",".join(COLUMNS) + "\n"
    start_ns = int(start.timestamp()) * NS_PER_S
    for arrival in arrivals:
        yield (
            f"{_stamp(start_ns + arrival.offset_ns)},{arrival.input_tokens},"
            f"{arrival.output_tokens},{arrival.tenant},{arrival.profile}\n"
        )


def _bounded(lines: Iterable[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if len(line) > LINE_CHARS_MAX:
            raise InvalidInput(
                f"{name}:{number}: the line is longer than {LINE_CHARS_MAX} characters: "
                "this is no arrival trace"
            )
        if "\0" in line:
            raise InvalidInput(f"{name}:{number}: a NUL character: this is no text file")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _checked_columns(row: list[str], where: str) -> list[str]:
    columns = [column.strip() for column in row]
    missing = [column for column in REQUIRED if column not in columns]
    unknown = [column for column in columns if column not in COLUMNS]
    if missing:
        raise InvalidInput(f"{where}: column `{missing[0]}` is missing: the columns are {_named()}")
    if unknown or len(set(columns)) != len(columns):
        wrong = unknown[0] if unknown else next(c for c in columns if columns.count(c) > 1)
        state = "unknown" if unknown else "twice there"
        raise InvalidInput(f"{where}: column `{wrong[:64]}` is {state}: the columns are {_named()}")
    return columns


def _named() -> str:
    return f"{', '.join(REQUIRED)} and, if wanted, {', '.join(OPTIONAL)}"


def _arrival(columns: list[str], row: list[str], where: str) -> tuple[int, Arrival]:
    if len(row) != len(columns):
        raise InvalidInput(f"{where}: {len(row)} values for {len(columns)} columns")
    values = dict(zip(columns, map(str.strip, row), strict=True))
    arrival = Arrival(
        0,
        _tokens(values, "ContextTokens", where),
        _tokens(values, "GeneratedTokens", where),
        values.get("Tenant", ""),
        values.get("Profile", ""),
    )
    return _stamp_ns(values["TIMESTAMP"], where), arrival


def _tokens(values: dict[str, str], column: str, where: str) -> int:
    text = values[column]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= TOKENS_MAX):
        raise InvalidInput(
            f"{where}: `{column}` is `{text[:32]}`: a whole number from 0 to {TOKENS_MAX} is wanted"
        )
    return int(text)


def _stamp_ns(text: str, where: str) -> int:
    # Azure writes seven digits, finer than datetime holds: the fraction is read apart.
    whole, _, fraction = text.partition(".")
    zone = ""
    for mark in ("Z", "+"):
        if mark in fraction:
            fraction, _, zone = fraction.partition(mark)
            zone = mark + zone
    try:
        moment = datetime.fromisoformat(whole + zone)
    except ValueError:
        moment = None
    if moment is None or (fraction and not fraction.isdigit()) or len(fraction) > 9:
        raise InvalidInput(
            f"{where}: `TIMESTAMP` is `{text[:64]}`: a time such as "
            "`2023-11-16 18:15:46.6805900` is wanted"
        )
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS_PER_S + int(fraction.ljust(9, "0") or "0")


def _stamp(stamp_ns: int) -> str:
    seconds, rest_ns = divmod(stamp_ns, NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(sep=' ')}.{rest_ns // 100:07d}"
