"""For how long Telemetry keeps what, by class, and the forgetting of it in small steps.

`usage` is what sums are made of, `records` what was decided and happened in each call, the end
user's name included, `vectors` what decisions were made on.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import apsw

from harmost.core.errors import InvalidInput

__all__ = ["CLASSES", "PRUNED_AT_ONCE", "Pruner", "Retention", "retention_of"]

CLASSES = ("usage", "records", "vectors")
DAYS_MAX = 36_500
ROWS_MAX = 1_000_000_000
PRUNED_AT_ONCE = 500  # some 5 ms
_NS_PER_DAY = 86_400 * 1_000_000_000
_END_NS = (1 << 63) - 1
_KEEP = re.compile(r"(\w+)=([0-9]{1,10})(d?)", re.ASCII)


class Retention(NamedTuple):
    """Days and rows of each class: what is older, or one of the oldest beyond them, is forgotten."""

    usage_days: int = 800  # two years to compare, and a month to do it
    usage_max: int = 20_000_000  # some 6 GB
    records_days: int = 400  # a year, and a month to report on it
    records_max: int = 5_000_000  # some 5 GB
    vectors_days: int = 90  # a quarter of calls is what a change of policy is tried on
    vectors_max: int = 2_000_000  # some 800 MB


def retention_of(words: Iterable[str]) -> Retention:
    """The retention that `words` such as "records=90d" (days) or "records=100000" (rows) change.

    Raises InvalidInput for what is not so, or cannot be: usage is kept as long as its records.
    """
    kept = Retention()
    for word in words:
        found = _KEEP.fullmatch(word.strip())
        if found is None or found[1] not in CLASSES:
            raise InvalidInput(
                f"`{word}` does not say what to keep: write CLASS=90d or CLASS=100000 rows, "
                f"where the class is {', '.join(CLASSES)}"
            )
        number, limit = int(found[2]), DAYS_MAX if found[3] else ROWS_MAX
        if not 1 <= number <= limit:
            raise InvalidInput(f"`{word}` is out of bounds: 1 to {limit:,} is allowed")
        kept = kept._replace(**{f"{found[1]}_{'days' if found[3] else 'max'}": number})
    if kept.usage_days < kept.records_days or kept.usage_max < kept.records_max:
        raise InvalidInput(
            f"usage is kept for {kept.usage_days} days and {kept.usage_max:,} rows, records for "
            f"{kept.records_days} and {kept.records_max:,}: keep usage for no less than records"
        )
    return kept


class Pruner:
    """Forgets rows of the database behind `connection`; counts them, so that none need be counted.

    `held` names the tenants under legal hold, None where that is not known: as in the audit log, nothing
    of them or below them is forgotten, nor anything that came later than the first that is held.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        retention: Retention,
        held: Callable[[], Sequence[str] | None] = tuple,
    ) -> None:
        self._connection = connection
        self._retention = retention
        self._held = held
        self._until_ns = 0
        self._usage = self._count("records")
        self._records = self._count("whole_records")
        self._outcomes = self._count("outcomes")
        self._vectors = self._count("fact_vectors")

    def added(self, *, records: int, outcomes: int, vectors: int) -> None:
        """So many rows came."""
        self._usage += records
        self._records += records
        self._outcomes += outcomes
        self._vectors += vectors

    def prune(self, now_ns: int) -> int:
        """Forget at most PRUNED_AT_ONCE rows of each class, of those too old or too many.

        The number of all; 0: nothing is left to forget.
        """
        kept = self._retention
        if (held := self._held()) is None:
            return 0
        records_ns = now_ns - kept.records_days * _NS_PER_DAY
        vectors_ns = now_ns - kept.vectors_days * _NS_PER_DAY
        self._until_ns = self._first_held_ns(held, before_ns=max(records_ns, vectors_ns))
        records = self._forget_records(records_ns)
        self._records -= records
        usage_ns = now_ns - kept.usage_days * _NS_PER_DAY
        usage = self._prune("records", usage_ns, self._usage - kept.usage_max)
        self._usage -= usage
        outcomes = self._prune("outcomes", records_ns, self._outcomes - kept.records_max)
        self._outcomes -= outcomes
        vectors = self._prune("fact_vectors", vectors_ns, self._vectors - kept.vectors_max)
        self._vectors -= vectors
        return records + usage + outcomes + vectors

    def _forget_records(self, oldest_ns: int) -> int:
        """Forget whole records; their usage stays, without the end user's name.

        INVARIANT: a row of usage outlives its record, so none is deleted here by a cascade.
        """
        too_many = self._records - self._retention.records_max
        with self._connection:
            self._connection.execute(
                "UPDATE records SET end_user_id = '' WHERE end_user_id <> '' AND position IN "
                f"({_oldest('whole_records', 'position', 'started_ns')})",
                self._bounds(oldest_ns, too_many),
            )
            self._delete("whole_records", "position", "started_ns", oldest_ns, too_many)
        return self._connection.changes()

    def _prune(self, table: str, oldest_ns: int, too_many: int) -> int:
        keys, column = "position", "started_ns"
        if table == "outcomes":
            keys, column = "record_id, name, reported_ns", "reported_ns"
        with self._connection:
            self._delete(table, keys, column, oldest_ns, too_many)
        return self._connection.changes()

    def _delete(self, table: str, keys: str, column: str, oldest_ns: int, too_many: int) -> None:
        self._connection.execute(
            f"DELETE FROM {table} WHERE ({keys}) IN ({_oldest(table, keys, column)})",
            self._bounds(oldest_ns, too_many),
        )

    def _bounds(self, oldest_ns: int, too_many: int) -> tuple[int, int, int]:
        until_ns = self._until_ns
        return max(0, min(too_many, PRUNED_AT_ONCE)), min(oldest_ns, until_ns), until_ns

    def _first_held_ns(self, held: Sequence[str], *, before_ns: int) -> int:
        """When the first record came that is held; the end of time: none is that matters now.

        Nothing from `before_ns` on is too old, so it is searched only where there are too many.
        """
        kept = self._retention
        is_over = (
            self._usage > kept.usage_max
            or max(self._records, self._outcomes) > kept.records_max
            or self._vectors > kept.vectors_max
        )
        firsts = [
            cast(
                "int | None",
                self._connection.execute(
                    "SELECT started_ns FROM records WHERE started_ns < ?2 AND (tenant = ?1 "
                    "OR (tenant > ?1 || '/' AND tenant < ?1 || '0')) "  # "0" comes after "/"
                    "ORDER BY started_ns LIMIT 1",
                    (tenant, _END_NS if is_over else before_ns),
                ).get,
            )
            for tenant in held
        ]
        return min((first for first in firsts if first is not None), default=_END_NS)

    def _count(self, table: str) -> int:
        count = self._connection.execute(f"SELECT count(*) FROM {table}").get
        assert isinstance(count, int)
        return count


def _oldest(table: str, keys: str, column: str) -> str:
    """The oldest that are too many, ?1, and the oldest that are too old, ?2: both from one index, and
    none from ?3 on."""
    return (
        f"SELECT {keys} FROM (SELECT {keys} FROM {table} WHERE {column} < ?3 "
        f"ORDER BY {column} LIMIT ?1) UNION "
        f"SELECT {keys} FROM (SELECT {keys} FROM {table} WHERE {column} < ?2 "
        f"ORDER BY {column} LIMIT {PRUNED_AT_ONCE})"
    )
