"""Facts about TelemetryService, seen from outside."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from harmost.services.transport import bearer
from harmost.telemetry.v1 import telemetry_pb2

DAY_S = 86_400
T0 = 1_800_000_000 // DAY_S * DAY_S
BY = telemetry_pb2


def outcome(name: str, at_s: int = T0) -> telemetry_pb2.OutcomeReport:
    return telemetry_pb2.OutcomeReport(
        name=name, score_permille=900, reported_at=Timestamp(seconds=at_s)
    )


async def test_a_reported_record_is_found_whole(caller: Any, make_record: Any) -> None:
    record = make_record("r1", ("small", 3, 40), ("large", 5, 900), labels={"team": "a"})
    assert await caller.report(record) == 7
    assert await caller.get("r1") == record


async def test_a_record_that_comes_twice_counts_once(caller: Any, make_record: Any) -> None:
    await caller.report(make_record("r1", ("m", 1, 10)))
    await caller.report(make_record("r1", ("m", 1, 10)), make_record("r2", ("m", 1, 10)))
    (row,) = await caller.usage()
    assert (row.missions, row.attempts, row.cost_usd_nanos) == (2, 2, 20)


async def test_nothing_recorded_sums_to_zero(caller: Any) -> None:
    (row,) = await caller.usage()
    assert (row.missions, row.attempts, row.cost_usd_nanos, row.denials) == (0, 0, 0, 0)


async def test_sums_by_model_count_a_mission_in_each_of_its_models(
    caller: Any, make_record: Any
) -> None:
    await caller.report(
        make_record("r1", ("a", 1, 10), ("b", 2, 200), ("b", 4, 4000)),
        make_record("r2", ("b", 8, 80_000)),
        make_record("r3", status="policy_denied"),
    )
    rows = await caller.usage(group_by=[BY.GROUP_BY_MODEL])
    sums = {row.keys[0]: (row.missions, row.attempts, row.cost_usd_nanos) for row in rows}
    assert sums == {"": (1, 0, 0), "a": (1, 1, 10), "b": (2, 3, 84_200)}
    assert [row.denials for row in rows] == [1, 0, 0]
    assert [row.usage.input_tokens for row in rows] == [0, 1, 14]
    assert [row.usage.output_tokens for row in rows] == [0, 2, 28]


async def test_sums_by_every_group_name_their_keys_in_order(caller: Any, make_record: Any) -> None:
    await caller.report(
        make_record("r1", ("m", 1, 1), agent_id="bot", end_user_id="u1", at_s=T0 + 3600),
        make_record("r2", ("m", 1, 2), tenant="acme/retail", profile="sales", at_s=T0 + DAY_S),
    )

    async def keys(*group_by: int) -> list[list[str]]:
        return [list(row.keys) for row in await caller.usage(group_by=group_by)]

    assert await keys(BY.GROUP_BY_TENANT) == [["acme"], ["acme/retail"]]
    assert await keys(BY.GROUP_BY_DAY) == [["2027-01-15"], ["2027-01-16"]]
    assert await keys(BY.GROUP_BY_HOUR) == [["2027-01-15T01:00:00Z"], ["2027-01-16T00:00:00Z"]]
    assert await keys(BY.GROUP_BY_AGENT) == [[""], ["bot"]]
    assert await keys(BY.GROUP_BY_STATUS, BY.GROUP_BY_END_USER) == [
        ["completed", ""],
        ["completed", "u1"],
    ]
    assert await keys(BY.GROUP_BY_PROFILE, BY.GROUP_BY_MODEL) == [["sales", "m"], ["support", "m"]]


async def test_sums_are_asked_for_by_label_level_profile_and_model(
    caller: Any, make_record: Any
) -> None:
    await caller.report(
        make_record("r1", ("a", 1, 1), ("b", 1, 2), tenant="acme/eu", labels={"team": "x"}),
        make_record("r2", ("a", 1, 4), tenant="acme/us", labels={"team": "y", "env": "test"}),
        make_record("r3", ("a", 1, 8), tenant="globex", profile="sales"),
    )

    async def costs(**asked: Any) -> dict[str, int]:
        return {"/".join(row.keys): row.cost_usd_nanos for row in await caller.usage(**asked)}

    by_team = {"group_by": [BY.GROUP_BY_LABEL], "label_names": ["team"]}
    assert await costs(**by_team) == {"": 8, "x": 3, "y": 4}
    assert await costs(**by_team, model="a") == {"": 8, "x": 1, "y": 4}
    assert await costs(group_by=[BY.GROUP_BY_TENANT], tenant_levels=1) == {"acme": 7, "globex": 8}
    assert await costs(profile="sales") == await costs(tenant="globex") == {"": 8}
    assert await costs(labels={"env": "test"}) == {"": 4}
    assert await costs(labels={"env": ""}) == {"": 11}


async def test_a_time_range_takes_its_start_and_leaves_its_end(
    caller: Any, make_record: Any
) -> None:
    await caller.report(*(make_record(f"r{n}", ("m", 1, 10**n), at_s=T0 + n) for n in range(4)))
    (row,) = await caller.usage(start=Timestamp(seconds=T0 + 1), end=Timestamp(seconds=T0 + 3))
    assert row.cost_usd_nanos == 110


async def test_a_tenant_sees_itself_and_below_but_not_its_namesakes(
    caller: Any, make_record: Any
) -> None:
    tenants = ["acme", "acme/retail", "acme/retail/eu", "acme2", "acme-x", "acme.y", "ac", "other"]
    await caller.report(
        *(make_record(f"r-{n}", ("m", 1, 10**n), tenant=t) for n, t in enumerate(tenants))
    )
    (row,) = await caller.usage("acme")
    assert row.cost_usd_nanos == 111
    (row,) = await caller.usage("acme", tenant="acme/retail")
    assert row.cost_usd_nanos == 110
    listed = (await caller.list("acme")).records
    assert {record.tenant for record in listed} == {"acme", "acme/retail", "acme/retail/eu"}
    assert (await caller.get("r-1", key="acme")).tenant == "acme/retail"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.get("r-3", key="acme")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.usage("acme", tenant="acme2")
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_pages_hold_every_record_once_newest_first(caller: Any, make_record: Any) -> None:
    await caller.report(
        *(make_record(f"r{n}", at_s=T0 + n // 3) for n in range(25))  # several in one instant
    )
    seen, token = [], ""
    while True:
        page = await caller.list(page_size=4, page_token=token)
        seen += [record.record_id for record in page.records]
        assert len(page.records) <= 4
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"r{n}" for n in reversed(range(25))]


async def test_records_are_filtered_by_profile_and_status(caller: Any, make_record: Any) -> None:
    await caller.report(
        make_record("r1", profile="sales"),
        make_record("r2", profile="sales", status="budget_denied"),
        make_record("r3", status="budget_denied"),
    )
    page = await caller.list(profile="sales", status=BY.RECORD_STATUS_BUDGET_DENIED)
    assert [record.record_id for record in page.records] == ["r2"]


@pytest.mark.parametrize(
    "token", ["!", "MTIz", "LTE6NQ==", "é" * 8, "OTk5OTk5OTk5OTk5OTk5OTk5OTk6MQ=="]
)
async def test_a_page_token_of_someone_else_is_refused(caller: Any, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.list(page_token=token)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "page_token" in (error.value.details() or "")


async def test_an_unknown_group_is_refused(caller: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.usage(group_by=[0])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "group_by[0]" in (error.value.details() or "")


def _cost(record: Any) -> None:
    record.cost_usd_nanos += 1


def _tenant(record: Any) -> None:
    record.tenant = "Acme//"


def _status(record: Any) -> None:
    record.status = 0


def _time(record: Any) -> None:
    record.ClearField("started_at")


def _attempt(record: Any) -> None:
    record.attempts[0].attempt_id = ""


def _negative(record: Any) -> None:
    record.cost_usd_nanos = record.attempts[0].cost_usd_nanos = -5


def _twice(record: Any) -> None:
    record.attempts.append(record.attempts[0])


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (_cost, "records[1].cost_usd_nanos"),
        (_tenant, "records[1].tenant"),
        (_status, "records[1].status"),
        (_time, "records[1].started_at"),
        (_attempt, "records[1].attempts[0].attempt_id"),
        (_negative, "records[1].cost_usd_nanos"),
        (_twice, "records[1].attempts"),
    ],
)
async def test_a_malformed_record_ends_its_stream_and_keeps_nothing_of_its_batch(
    caller: Any, make_record: Any, spoil: Any, field: str
) -> None:
    bad = make_record("r2", ("m", 1, 10))
    spoil(bad)
    call = caller.stub.Report(metadata=bearer("service"))
    await call.write(
        telemetry_pb2.ReportRequest(batch=1, records=[make_record("r1", ("m", 1, 10)), bad])
    )
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"`{field}`" in (error.value.details() or "")
    (row,) = await caller.usage()
    assert row.missions == 0


async def test_outcomes_join_their_record_whichever_comes_first(
    caller: Any, make_record: Any
) -> None:
    await caller.report(r1=outcome("early"))
    await caller.report(make_record("r1", ("m", 1, 10)))
    await caller.report(r1=outcome("late", T0 + 5))
    await caller.report(r1=outcome("late", T0 + 5))  # again, after a lost acknowledgement
    assert [item.name for item in (await caller.get("r1")).outcomes] == ["early", "late"]


async def test_a_record_keeps_at_most_32_outcomes(caller: Any, make_record: Any) -> None:
    await caller.report(make_record("r1"))
    for number in range(35):
        await caller.report(r1=outcome(f"n{number:02}"))
    assert len((await caller.get("r1")).outcomes) == 32


async def test_a_follower_gets_new_records_of_its_tenant_only(
    caller: Any, make_record: Any
) -> None:
    await caller.report(make_record("old"))
    tail = caller.stub.TailDecisions(telemetry_pb2.TailDecisionsRequest(), metadata=bearer("acme"))
    reading = asyncio.create_task(tail.read())
    for number in range(200):  # the follower is there once it was heard
        if reading.done():
            break
        await caller.report(
            make_record("old"), make_record(f"o{number}", tenant="acme2"), make_record(f"n{number}")
        )
        await asyncio.sleep(0.01)
    first = await reading
    assert first.record.record_id.startswith("n")
    assert first.missed == 0
    tail.cancel()


async def test_only_the_mesh_reports_and_callers_ask_nothing(caller: Any) -> None:
    for key, call in (
        ("operator", caller.stub.Report(metadata=bearer("operator"))),
        ("caller", caller.stub.QueryUsage(BY.QueryUsageRequest(), metadata=bearer("caller"))),
    ):
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED, key


async def test_there_is_no_audit_log_yet(caller: Any) -> None:
    for call in (
        caller.stub.GetCheckpoint(BY.GetCheckpointRequest(), metadata=bearer("operator")),
        caller.stub.GetReceipt(BY.GetReceiptRequest(record_id="r"), metadata=bearer("operator")),
    ):
        assert await call.code() == grpc.StatusCode.UNIMPLEMENTED
