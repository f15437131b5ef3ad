"""The sandbox over real sockets: both vendors, every knob, and what each costs."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

VENDORS = ("openai", "anthropic")


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def usage_of(vendor: str, body: Any) -> tuple[int, int]:
    names = {
        "openai": ("prompt_tokens", "completion_tokens"),
        "anthropic": ("input_tokens", "output_tokens"),
    }[vendor]
    return body["usage"][names[0]], body["usage"][names[1]]


def stream_usage(vendor: str, frames: list[Any]) -> tuple[int, int] | None:
    last = [frame for frame in frames if frame.get("usage")]
    return usage_of(vendor, last[-1]) if last else None


async def test_a_stream_bills_what_it_reports(sandbox: Any, vendor: str) -> None:
    prompt = "x" * 33
    said = await sandbox.ask(
        vendor,
        prompt,
        headers={"x-sandbox-output-tokens": "12"},
        attempt_id="a",
        model="sandbox-large",
    )
    assert said.status == 200
    assert len(said.text.encode()) == 12 * 4
    assert stream_usage(vendor, said.frames) == (9, 12)
    bill = await sandbox.billed("a")
    assert (bill["input_tokens"], bill["output_tokens"], bill["status"]) == (9, 12, "complete")
    assert bill["cost_usd_nanos"] == 9 * 2_500 + 12 * 10_000


async def test_a_unary_answer_has_the_text_of_the_stream(sandbox: Any, vendor: str) -> None:
    streamed = await sandbox.ask(vendor, "tell me")
    unary = await sandbox.ask(vendor, "tell me", stream=False, attempt_id="b")
    if vendor == "openai":
        text = unary.json["choices"][0]["message"]["content"]
    else:
        text = unary.json["content"][0]["text"]
    assert text == streamed.text
    assert usage_of(vendor, unary.json) == stream_usage(vendor, streamed.frames)
    assert (await sandbox.billed("b"))["output_tokens"] == len(text) // 4


async def test_other_requests_have_other_texts(sandbox: Any, vendor: str) -> None:
    texts = {(await sandbox.ask(vendor, f"question {n}")).text for n in range(5)}
    assert len(texts) == 5


async def test_the_maximum_cuts_the_answer(sandbox: Any, vendor: str) -> None:
    said = await sandbox.ask(vendor, knobs="output_tokens=50", maximum=7)
    assert len(said.text) == 7 * 4
    assert (b'"length"' if vendor == "openai" else b'"max_tokens"') in said.body


async def test_ignore_max_writes_more_than_was_asked(sandbox: Any, vendor: str) -> None:
    said = await sandbox.ask(vendor, knobs="output_tokens=50 ignore_max", maximum=7, attempt_id="a")
    assert len(said.text) == 50 * 4
    assert (await sandbox.billed("a"))["output_tokens"] == 50


async def test_chunk_tokens_is_the_size_of_an_event(sandbox: Any, vendor: str) -> None:
    small = await sandbox.ask(vendor, knobs="output_tokens=10")
    large = await sandbox.ask(vendor, knobs="output_tokens=10 chunk_tokens=4")
    assert len(small.frames) - len(large.frames) == 10 - 3
    assert len(large.text) == 40


async def test_json_is_the_answer_and_is_billed_by_its_bytes(sandbox: Any, vendor: str) -> None:
    wanted = '{"score":8,"why":"a \\"b\\" ]] ü 你好"}'
    said = await sandbox.ask(vendor, knobs=f"json={wanted} chunk_tokens=1", attempt_id="a")
    assert said.text == wanted
    assert (await sandbox.billed("a"))["output_tokens"] == -(-len(wanted.encode()) // 4)


async def test_paced_tokens_come_one_after_the_other(sandbox: Any, vendor: str) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    knobs = "output_tokens=6 token_ms=8 ttft_ms=20 latency_sigma=0"
    async with sandbox.request(vendor, knobs=knobs) as response:
        reads = [data async for data in response.content.iter_any()]
    assert loop.time() - started >= 0.020 + 5 * 0.008
    assert len(reads) >= 3


@pytest.mark.parametrize(
    ("knobs", "status"), [("fail=500", 500), ("fail=429", 429), ("throttle", 429)]
)
async def test_a_refusal_is_free(sandbox: Any, vendor: str, knobs: str, status: int) -> None:
    said = await sandbox.ask(vendor, knobs=knobs, attempt_id="a")
    assert said.status == status
    assert said.json["error"]["type"]
    bill = await sandbox.billed("a")
    assert (bill["status"], bill["http_status"], bill["cost_usd_nanos"]) == ("failed", status, 0)


async def test_throttle_says_when_to_come_again(sandbox: Any, vendor: str) -> None:
    said = await sandbox.ask(vendor, knobs="throttle=1.5")
    assert said.headers["retry-after-ms"] == "1500"
    assert said.headers["retry-after"] == "2"


async def test_fail_first_counts_by_name(sandbox: Any) -> None:
    async def status(name: str, more: str = "") -> int:
        said = await sandbox.ask(knobs=f"fail_first=2:{name} {more}")
        return int(said.status)

    assert [await status("a") for _ in range(3)] == [503, 503, 200]
    assert [await status("b", "fail=500") for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_stall_is_silent_until_the_client_leaves(
    sandbox: Any, vendor: str, after: int
) -> None:
    heard = b""

    async def listen() -> None:
        nonlocal heard
        knobs = f"output_tokens=9 stall_after={after}"
        async with sandbox.request(vendor, knobs=knobs, attempt_id="a") as response:
            async for data in response.content.iter_any():
                heard += data

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(listen(), 0.15)
    assert (heard == b"") == (after == 0)
    bill = await sandbox.billed("a")
    assert (bill["status"], bill["output_tokens"]) == ("client_gone", after)
    assert bill["input_tokens"] > 0


@pytest.mark.parametrize("after", [1, 5, 9])
async def test_a_break_cuts_the_connection(sandbox: Any, vendor: str, after: int) -> None:
    said = await sandbox.ask(vendor, knobs=f"output_tokens=9 break_after={after}", attempt_id="a")
    assert not said.whole
    assert len(said.text) == after * 4
    bill = await sandbox.billed("a")
    assert (bill["status"], bill["output_tokens"]) == ("broken", after)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_break_at_once_sends_no_byte(sandbox: Any, vendor: str, stream: bool) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.ask(vendor, knobs="break_after=0", attempt_id="a", stream=stream)
    bill = await sandbox.billed("a")
    assert (bill["status"], bill["output_tokens"]) == ("broken", 0)


async def test_garbage_is_no_stream(sandbox: Any, vendor: str) -> None:
    raw = await sandbox.ask(vendor, knobs="garbage")
    assert (raw.status, raw.frames) == (200, [])
    error = await sandbox.ask(vendor, knobs="garbage=error", attempt_id="free")
    assert (error.status, error.json["error"]["message"]) == (200, "told to fail")
    assert (await sandbox.billed("free"))["cost_usd_nanos"] == 0
    types = await sandbox.ask(vendor, knobs="garbage=types", attempt_id="a")
    assert types.frames[0]["type"] == 7
    assert (await sandbox.billed("a"))["output_tokens"] == 0


@pytest.mark.parametrize(
    ("lie", "reported"), [("+5", 15), ("-3", 7), ("-99", 0), ("2", 20), ("x0.5", 5)]
)
async def test_a_lie_is_reported_and_the_truth_is_billed(
    sandbox: Any, vendor: str, lie: str, reported: int
) -> None:
    knobs = f"output_tokens=10 lie_usage={lie}"
    said = await sandbox.ask(vendor, knobs=knobs, attempt_id="a")
    usage = stream_usage(vendor, said.frames)
    assert usage is not None
    assert usage[1] == reported
    assert (await sandbox.billed("a"))["output_tokens"] == 10


async def test_no_usage_reports_nothing(sandbox: Any, vendor: str) -> None:
    said = await sandbox.ask(vendor, knobs="output_tokens=3 no_usage", attempt_id="a")
    assert stream_usage(vendor, said.frames) is None
    assert (await sandbox.billed("a"))["output_tokens"] == 3


async def test_an_unknown_knob_names_the_known_ones(sandbox: Any, vendor: str) -> None:
    for options in ({"knobs": "zork=1"}, {"headers": {"x-sandbox-zork": "1"}}):
        said = await sandbox.ask(vendor, **options)
        assert said.status == 400
        assert "no knob is called `zork`: use one of output_tokens" in said.json["error"]["message"]


async def test_a_client_that_leaves_at_any_token_pays_for_what_was_written(
    sandbox: Any, vendor: str
) -> None:
    tokens = 12
    for leave in range(tokens + 1):
        attempt_id, heard = f"{vendor}-{leave}", 0
        knobs = f"output_tokens={tokens} token_ms=2"
        async with sandbox.request(vendor, knobs=knobs, attempt_id=attempt_id) as response:
            async for line in response.content:
                heard += b'"content":"' in line or b'"text_delta"' in line
                if heard > leave:
                    break
            response.close()
        bill = await sandbox.billed(attempt_id)
        spoken = heard - (vendor == "openai")  # the first chunk of OpenAI's holds no token
        assert spoken <= bill["output_tokens"] <= tokens
        assert bill["cost_usd_nanos"] == bill["input_tokens"] * 150 + bill["output_tokens"] * 600


async def test_an_attempt_id_is_used_once(sandbox: Any) -> None:
    assert (await sandbox.ask(attempt_id="a")).status == 200
    assert (await sandbox.ask(attempt_id="a")).status == 409
    assert len([row for row in sandbox.rows() if row["row"] == "end"]) == 1


async def test_an_attempt_that_was_asked_for_before_it_came_is_void(sandbox: Any) -> None:
    assert await sandbox.get("/usage/a") == (404, {"attempt_id": "a", "status": "unknown"})
    assert (await sandbox.ask(attempt_id="a")).status == 409
    assert sandbox.rows() == []


@pytest.mark.parametrize("base", ["", "/openai", "/openai/v1", "/anthropic", "/anthropic/v1"])
async def test_usage_is_found_under_every_base(sandbox: Any, base: str) -> None:
    await sandbox.ask(attempt_id="a", knobs="output_tokens=1")
    status, bill = await sandbox.get(f"{base}/usage/a")
    assert (status, bill["output_tokens"]) == (200, 1)


async def test_an_open_attempt_shows_its_bill_so_far(sandbox: Any) -> None:
    async with sandbox.request(knobs="output_tokens=9 stall_after=4", attempt_id="a") as response:
        await response.content.readany()
        _, bill = await sandbox.get("/usage/a")
        assert (bill["status"], bill["output_tokens"]) == ("open", 4)
        response.close()


async def test_pages_hold_every_attempt_once(sandbox: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for n in range(30):
            tasks.create_task(sandbox.ask(attempt_id=f"a{n}"))
    _, first = await sandbox.get("/usage?since=0")
    assert {row["attempt_id"] for row in first["attempts"]} == {f"a{n}" for n in range(30)}
    assert not first["more"]
    await sandbox.ask(attempt_id="b")
    _, second = await sandbox.get(f"/usage?since={first['next']}")
    assert [row["attempt_id"] for row in second["attempts"]] == ["b"]
    assert (await sandbox.get("/usage?since=x"))[0] == 400
    assert (await sandbox.get("/usage?since=999999999"))[0] == 400


async def test_health_and_unknown_paths(sandbox: Any) -> None:
    assert await sandbox.get("/healthz") == (200, {"status": "serving"})
    assert (await sandbox.get("/zork"))[0] == 404
    assert (await sandbox.get("/openai/v1/chat/completions"))[0] == 405


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "max_tokens": 0, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": 7}]}',
        b'{"model": "m", "max_tokens": 5, "n": 2, "messages": [{"role": "x", "content": "x"}]}',
    ],
)
async def test_a_bad_request_is_told_so(sandbox: Any, vendor: str, body: bytes) -> None:
    path = {"openai": "/openai/v1/chat/completions", "anthropic": "/anthropic/v1/messages"}[vendor]
    headers = {"anthropic-version": "2023-06-01"}
    async with sandbox.session.post(sandbox.base + path, data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"]
    assert sandbox.rows() == []


async def test_anthropic_wants_a_version_and_the_newest_takes_no_temperature(sandbox: Any) -> None:
    async def status(version: str, **more: Any) -> int:
        body = {
            "model": "m",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            **more,
        }
        async with sandbox.session.post(
            sandbox.base + "/anthropic/v1/messages",
            data=json.dumps(body),
            headers={"anthropic-version": version},
        ) as response:
            return int(response.status)

    assert await status("") == 400
    assert await status("2023-06-01", temperature=1) == 200
    assert await status("2026-10-21") == 200
    assert await status("2026-10-21", temperature=1) == 400


async def test_one_connection_serves_one_answer_after_the_other(sandbox: Any, vendor: str) -> None:
    for n in range(5):
        said = await sandbox.ask(vendor, f"{n}", knobs="output_tokens=2000", maximum=5000)
        assert said.whole
        assert len(said.text) == 8000


async def test_a_body_over_the_bound_is_refused(sandbox: Any) -> None:
    body = io.BytesIO(b" " * (17 * 1024 * 1024))
    url = sandbox.base + "/openai/v1/chat/completions"
    async with sandbox.session.post(url, data=body) as response:
        assert response.status == 413
    assert sandbox.rows() == []


@pytest.mark.parametrize("attempt_id", ["a/b", "a b", "x" * 129, "a?b"])
async def test_an_id_that_could_not_be_looked_up_is_refused(sandbox: Any, attempt_id: str) -> None:
    assert (await sandbox.ask(attempt_id=attempt_id)).status == 400
