"""Sums equal those that plain Python makes of the same records, whatever they are grouped by."""

import contextlib
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmost.core.errors import InvalidInput
from harmost.services.sqlite import open_database
from harmost.services.telemetry.convert import entry_of
from harmost.services.telemetry.schema import APPLICATION_ID, MIGRATIONS
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.usage import UsageQuestion
from harmost.telemetry.v1 import telemetry_pb2 as pb

T0 = 1_800_000_000
NS = 10**9
TENANTS = ("acme", "acme/retail", "acme/retail/eu", "acme-x", "acme0", "globex")
LABELS = ("team", "$.x", 'a"b', "[0]", "0")  # JSON paths would trip over the last ones
MODELS = ("small", "large")
KEYED = [pb.GROUP_BY_TENANT, pb.GROUP_BY_MODEL, pb.GROUP_BY_PROFILE, pb.GROUP_BY_LABEL]
TIMED = [pb.GROUP_BY_HOUR, pb.GROUP_BY_DAY, pb.GROUP_BY_STATUS]

Row = tuple[tuple[str, ...], tuple[int, ...]]

attempts = st.lists(
    st.tuples(st.sampled_from(MODELS), st.integers(0, 9), st.integers(0, 99)), max_size=3
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "attempts": attempts,
            "tenant": st.sampled_from(TENANTS),
            "profile": st.sampled_from(("support", "sales")),
            "status": st.sampled_from(("completed", "policy_denied", "failed")),
            "at_s": st.integers(T0, T0 + 200_000),
            "labels": st.dictionaries(
                st.sampled_from(LABELS), st.sampled_from(("", "a", "b")), max_size=2
            ),
        }
    ),
    max_size=8,
)


@st.composite
def questions(draw: Any) -> UsageQuestion:
    group_by = tuple(draw(st.lists(st.sampled_from(KEYED + TIMED), max_size=4)))
    count = group_by.count(pb.GROUP_BY_LABEL)
    start_s = draw(st.integers(T0 - 9, T0 + 200_000))
    return UsageQuestion(
        tenant=draw(st.sampled_from(("", *TENANTS))),
        start_ns=start_s * NS,
        end_ns=draw(st.sampled_from((2**63 - 1, (start_s + 90_000) * NS))),
        group_by=group_by,
        tenant_levels=draw(st.integers(0, 3)),
        label_names=tuple(draw(st.sampled_from(LABELS)) for _ in range(count)),
        profile=draw(st.sampled_from(("", "sales"))),
        model=draw(st.sampled_from(("", *MODELS))),
        labels=tuple(
            draw(
                st.dictionaries(st.sampled_from(LABELS), st.sampled_from("ab"), max_size=1)
            ).items()
        ),
    )


def twin(question: UsageQuestion, made: list[dict[str, Any]]) -> list[Row]:
    """The rows, by loops over the calls."""
    by_model = bool(question.model) or pb.GROUP_BY_MODEL in question.group_by
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 5)
    for call in made:
        if not _asked(question, call):
            continue
        parts: list[tuple[str, int, int] | None] = list(call["attempts"])
        groups: dict[tuple[str, ...], list[tuple[str, int, int]]] = defaultdict(list)
        if by_model:
            for part in parts or [None]:
                if question.model and (part is None or part[0] != question.model):
                    continue
                key = _key(question, call, part[0] if part else "")
                groups[key] += [part] if part else []
        else:
            groups[_key(question, call, "")] += call["attempts"]
        for key, found in groups.items():
            row = sums[key]
            row[0] += 1
            row[1] += len(found)
            row[2] += sum(tokens for _, tokens, _ in found)
            row[3] += sum(cost for _, _, cost in found)
            row[4] += call["status"] == "policy_denied"
    if not question.group_by and not sums:
        sums[()] = [0] * 5
    return [(key, tuple(sums[key])) for key in sorted(sums)]


def _asked(question: UsageQuestion, call: dict[str, Any]) -> bool:
    tenant = question.tenant
    return (
        (not tenant or call["tenant"] == tenant or call["tenant"].startswith(f"{tenant}/"))
        and question.start_ns <= call["at_s"] * NS < question.end_ns
        and question.profile in ("", call["profile"])
        and all(call["labels"].get(name, "") == value for name, value in question.labels)
    )


def _key(question: UsageQuestion, call: dict[str, Any], model: str) -> tuple[str, ...]:
    names = iter(question.label_names)
    at = datetime.fromtimestamp(call["at_s"], UTC)
    levels = call["tenant"].split("/")[: question.tenant_levels or None]
    key: list[str] = []
    for group in question.group_by:
        key.append(
            {
                pb.GROUP_BY_TENANT: "/".join(levels),
                pb.GROUP_BY_MODEL: model,
                pb.GROUP_BY_PROFILE: call["profile"],
                pb.GROUP_BY_STATUS: call["status"],
                pb.GROUP_BY_HOUR: f"{at:%Y-%m-%dT%H:00:00Z}",
                pb.GROUP_BY_DAY: f"{at:%Y-%m-%d}",
            }[group]
            if group != pb.GROUP_BY_LABEL
            else call["labels"].get(next(names), "")
        )
    return tuple(key)


@settings(
    max_examples=effort(60, ci=400, nightly=5_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=calls, question=questions())
def test_sums_are_those_of_plain_python(
    tmp_path_factory: pytest.TempPathFactory,
    make_record: Any,
    made: list[dict[str, Any]],
    question: UsageQuestion,
) -> None:
    path = tmp_path_factory.mktemp("usage") / "t.db"
    with contextlib.closing(TelemetryStore(path)) as store:
        records = [
            make_record(
                f"r{number}",
                *call["attempts"],
                **{k: v for k, v in call.items() if k != "attempts"},
            )
            for number, call in enumerate(made)
        ]
        store.take(pb.ReportRequest(batch=1, records=records))
        rows, truncated = store.usage(question)
    found = [
        (
            tuple(row.keys),
            (row.missions, row.attempts, row.usage.input_tokens, row.cost_usd_nanos, row.denials),
        )
        for row in rows
    ]
    assert not truncated
    assert found == twin(question, made)


@pytest.mark.parametrize(
    ("group_by", "label_names"),
    [((pb.GROUP_BY_LABEL,), ()), ((), ("team",)), ((pb.GROUP_BY_LABEL,), ("a", "b"))],
)
def test_each_group_by_label_names_its_label(
    store: TelemetryStore, group_by: tuple[int, ...], label_names: tuple[str, ...]
) -> None:
    question = UsageQuestion("", 0, 2**63 - 1, group_by, label_names=label_names)
    with pytest.raises(InvalidInput, match="label_names"):
        store.usage(question)


def test_a_schema_of_before_is_carried_over_after_a_backup(
    tmp_path: Path, make_record: Any
) -> None:
    path = tmp_path / "t.db"
    made = [
        make_record("r1", ("m", 1, 5), labels={"team": "a", 'x"y': "2"}),
        make_record("r2", ("m", 2, 7), tenant="globex"),
    ]
    with contextlib.closing(
        open_database(
            path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:2], synchronous="FULL"
        )
    ) as before:
        for record in made:
            entry = entry_of(pb.Record.FromString(record.SerializeToString()), field="r")
            columns = (*entry.columns, entry.whole)
            before.execute(f"INSERT INTO records VALUES (NULL{', ?' * len(columns)})", columns)
            for position, attempt in enumerate(entry.attempts, before.last_insert_rowid()):
                before.execute(
                    f"INSERT INTO attempts VALUES (?{', ?' * len(attempt)})", (position, *attempt)
                )
    with contextlib.closing(TelemetryStore(path)) as store:
        assert path.with_name("t.db.v2.bak").exists()
        assert [store.get("r1"), store.get("r2")] == made
        question = UsageQuestion(
            "", 0, 2**63 - 1, (pb.GROUP_BY_LABEL, pb.GROUP_BY_MODEL), label_names=('x"y',)
        )
        rows = [(*row.keys, row.cost_usd_nanos) for row in store.usage(question)[0]]
        assert rows == [("", "m", 7), ("2", "m", 5)]
        assert store.take(pb.ReportRequest(batch=1, records=made)) == []
