"""Sums of calls, tokens and money, grouped. Integers from end to end."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import apsw

from harmost.common.v1 import usage_pb2
from harmost.core.errors import InvalidInput, Violation
from harmost.services.telemetry.schema import USAGE_COLUMNS
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["ROWS_MAX", "UsageQuestion", "subtree", "usage_rows"]

ROWS_MAX = 10_000  # stated in the contract

_KEYS: Mapping[int, str] = {
    telemetry_pb2.GROUP_BY_TENANT: "r.tenant",
    telemetry_pb2.GROUP_BY_MODEL: "coalesce(a.model, '')",
    telemetry_pb2.GROUP_BY_PROFILE: "r.profile",
    telemetry_pb2.GROUP_BY_HOUR: (
        "strftime('%Y-%m-%dT%H:00:00Z', r.started_ns / 1000000000, 'unixepoch')"
    ),
    telemetry_pb2.GROUP_BY_DAY: "strftime('%Y-%m-%d', r.started_ns / 1000000000, 'unixepoch')",
    telemetry_pb2.GROUP_BY_AGENT: "r.agent_id",
    telemetry_pb2.GROUP_BY_END_USER: "r.end_user_id",
    telemetry_pb2.GROUP_BY_STATUS: "r.status",
}
# "" where a call has no such label, as where it has an empty one.
_LABEL = "coalesce((SELECT value FROM labels WHERE position = r.position AND name = ?), '')"
_DENIED = "r.status IN ('policy_denied', 'budget_denied')"
_MISSIONS = f"count(*), coalesce(sum(r.attempts), 0), coalesce(sum({_DENIED}), 0)"
# A mission with several attempts stands in several rows of the join.
_MISSIONS_OF_ATTEMPTS = (
    "count(DISTINCT r.position), coalesce(sum(a.sent), 0), "
    f"count(DISTINCT CASE WHEN {_DENIED} THEN r.position END)"
)


class UsageQuestion(NamedTuple):
    """At or below `tenant` ("" is all), from `start_ns` on, before `end_ns`, by `group_by`.

    Of a tenant path the first `tenant_levels` count (0: all). `label_names` are of the groups by
    label, in order. Of `profile`, `model` ("" is any) and with all `labels` only.
    """

    tenant: str
    start_ns: int
    end_ns: int
    group_by: tuple[int, ...]
    tenant_levels: int = 0
    label_names: tuple[str, ...] = ()
    profile: str = ""
    model: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def subtree(tenant: str) -> tuple[str, tuple[str, ...]]:
    """SQL that holds for rows `r` at or below `tenant`, and its values. "0" follows "/"."""
    if not tenant:
        return "true", ()
    return (
        "(r.tenant = ? OR (r.tenant >= ? AND r.tenant < ?))",
        (tenant, f"{tenant}/", f"{tenant}0"),
    )


def usage_rows(
    connection: apsw.Connection, question: UsageQuestion
) -> tuple[list[telemetry_pb2.UsageRow], bool]:
    """One row for each group, by key, and whether there were more than ROWS_MAX. O(records asked).

    Grouped by model, the sums are those of the attempts; else those of the records: both are equal.
    """
    keys, key_values = _keys(question)
    by_model = bool(question.model) or telemetry_pb2.GROUP_BY_MODEL in question.group_by
    where, where_values = _conditions(question)
    columns = ", ".join([*keys, _MISSIONS_OF_ATTEMPTS if by_model else _MISSIONS, _sums(by_model)])
    sql = f"SELECT {columns} FROM records AS r"
    if by_model:
        sql += " LEFT JOIN attempts AS a USING (position)"
    sql += f" WHERE {where}"
    if keys:
        places = ", ".join(str(place) for place in range(1, len(keys) + 1))
        sql += f" GROUP BY {places} ORDER BY {places} LIMIT {ROWS_MAX + 1}"
    try:
        found = connection.execute(sql, (*key_values, *where_values)).fetchall()
    except apsw.SQLError as error:
        if "integer overflow" not in str(error):
            raise
        raise InvalidInput("the sums are larger than 2**63: ask for a shorter time") from error
    return [_row(row, len(keys)) for row in found[:ROWS_MAX]], len(found) > ROWS_MAX


def _keys(question: UsageQuestion) -> tuple[list[str], list[str | int]]:
    """SQL for each group, and the values in it."""
    by_label = question.group_by.count(telemetry_pb2.GROUP_BY_LABEL)
    if by_label != len(question.label_names):
        raise _refused(
            "label_names", f"are {len(question.label_names)}: name one for each of {by_label} LABEL"
        )
    names = iter(question.label_names)
    keys: list[str] = []
    values: list[str | int] = []
    for index, number in enumerate(question.group_by):
        if number == telemetry_pb2.GROUP_BY_LABEL:
            keys.append(_LABEL)
            values.append(next(names))
        elif number == telemetry_pb2.GROUP_BY_TENANT and question.tenant_levels:
            keys.append("path_head(r.tenant, ?)")
            values.append(question.tenant_levels)
        elif number in _KEYS:
            keys.append(_KEYS[number])
        else:
            raise _refused(
                f"group_by[{index}]", f"is {number}, which groups by nothing: name a group"
            )
    return keys, values


def _conditions(question: UsageQuestion) -> tuple[str, list[str | int]]:
    """SQL that holds for what is asked for, and the values in it."""
    where, tenant = subtree(question.tenant)
    conditions = ["r.started_ns >= ? AND r.started_ns < ?", where]
    values: list[str | int] = [question.start_ns, question.end_ns, *tenant]
    if question.profile:
        conditions.append("r.profile = ?")
        values.append(question.profile)
    if question.model:
        conditions.append("a.model = ?")
        values.append(question.model)
    for name, value in question.labels:
        conditions.append(f"{_LABEL} = ?")
        values += (name, value)
    return " AND ".join(conditions), values


def _refused(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"`{field}` {what}", violations=[Violation(field, what)])


def _sums(by_model: bool) -> str:
    table = "a" if by_model else "r"
    sums = [f"coalesce(sum({table}.{name}), 0)" for name in (*USAGE_COLUMNS, "cost_usd_nanos")]
    return ", ".join([*sums, f"coalesce(min({table}.exact), 1)"])


def _row(row: Sequence[object], keys: int) -> telemetry_pb2.UsageRow:
    missions, attempts, denials, *sums = (_int(value) for value in row[keys:])
    *tokens, cost_usd_nanos, exact = sums
    usage = usage_pb2.TokenUsage(
        source=(usage_pb2.USAGE_SOURCE_PROVIDER if exact else usage_pb2.USAGE_SOURCE_ESTIMATED)
    )
    for name, sum_of in zip(USAGE_COLUMNS, tokens, strict=True):
        setattr(usage, name, sum_of)
    return telemetry_pb2.UsageRow(
        keys=[str(value) for value in row[:keys]],
        missions=missions,
        attempts=attempts,
        usage=usage,
        cost_usd_nanos=cost_usd_nanos,
        denials=denials,
    )


def _int(value: object) -> int:
    assert isinstance(value, int)  # INVARIANT: no sum is ever a float
    return value
