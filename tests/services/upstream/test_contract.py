"""The contract of an upstream over real sockets: faults as events, connections closed at once."""

import asyncio
import gzip
from typing import Any

import pytest

from harmost.core.providers.codec import Ended, ProviderError, TextDelta, UsageReported
from harmost.services.upstream.upstream import Billed, Unavailable, Upstream

VENDORS = ("openai", "anthropic")


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fault(events: list[Any]) -> ProviderError:
    assert isinstance(events[-1], ProviderError)
    return events[-1]


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


STREAM = "content-type: text/event-stream"
CHUNKED = f"HTTP/1.1 200 OK\r\n{STREAM}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
ONE = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def test_it_is_an_upstream(calls: Any) -> None:
    upstream: Upstream = calls.upstream
    assert upstream is calls.upstream


async def test_a_whole_answer(calls: Any, vendor: str) -> None:
    events = await calls.events("output_tokens=7", vendor=vendor)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert len(text) == 28
    assert isinstance(events[-1], Ended)
    usage = [event.usage for event in events if isinstance(event, UsageReported)][-1]
    assert (usage.output_tokens, usage.exact) == (7, True)


async def test_no_batch_is_empty_and_the_end_is_last(calls: Any, vendor: str) -> None:
    batches = await calls.batches("output_tokens=30 token_ms=1", vendor=vendor)
    assert len(batches) > 3
    assert all(batches)
    ends = [isinstance(event, Ended) for batch in batches for event in batch]
    assert ends.index(True) == len(ends) - 1


async def test_the_books_agree_with_the_usage(calls: Any, vendor: str) -> None:
    await calls.events("output_tokens=7", vendor=vendor)
    billed = await calls.upstream.usage_lookup(calls.endpoint(vendor), "a")
    assert isinstance(billed, Billed)
    assert billed.usage.output_tokens == 7
    assert billed.cost_usd_nanos == billed.usage.input_tokens * 150 + 7 * 600


@pytest.mark.parametrize(
    ("knobs", "kind"),
    [
        ("throttle=3", "throttled"),
        ("fail=401", "auth"),
        ("fail=402", "quota_exhausted"),
        ("fail=404", "not_found"),
        ("fail=500", "provider_error"),
        ("fail=529", "overloaded"),
        ("break_after=0", "connect_failed"),
        ("break_after=2 output_tokens=5", "broken"),
        ("stall_after=0", "stalled"),
        ("stall_after=2 output_tokens=5", "stalled"),
        ("garbage", "broken"),
        ("garbage=error", "provider_error"),
        ("garbage=types", "broken"),
    ],
)
async def test_what_a_provider_does_is_an_event(
    calls: Any, vendor: str, knobs: str, kind: str
) -> None:
    times = {"first_byte_timeout_ms": 100, "idle_timeout_ms": 80}
    error = fault(await calls.events(knobs, vendor=vendor, **times))
    assert error.kind == kind
    assert error.retry_after_s == (3.0 if kind == "throttled" else None)


async def test_headers_of_the_provider_are_sent_and_the_attempt_id_wins(calls: Any) -> None:
    headers = {"X-Sandbox-Output-Tokens": "3", "X-Request-Id": "other"}
    events = await calls.events(headers=headers, attempt_id="mine")
    assert len([event for event in events if isinstance(event, TextDelta)]) == 3
    assert isinstance(await calls.upstream.usage_lookup(calls.endpoint(), "mine"), Billed)


async def test_cancelling_in_the_middle_stops_the_provider_at_once(calls: Any, vendor: str) -> None:
    reader = calls.read("output_tokens=99 token_ms=20", vendor=vendor)
    await reader.first.wait()
    reader.call.cancel()
    billed = await calls.upstream.usage_lookup(calls.endpoint(vendor), "a")
    assert isinstance(billed, Billed)
    assert billed.usage.output_tokens < 50
    assert not reader.over.is_set()


async def test_cancelling_before_the_first_byte_stops_the_provider(calls: Any) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(calls.events("stall_after=0"), 0.1)
    billed = await calls.upstream.usage_lookup(calls.endpoint(), "a")
    assert isinstance(billed, Billed)
    assert billed.usage.output_tokens == 0


async def test_a_call_that_is_cancelled_at_once_is_never_sent(calls: Any) -> None:
    call, recorder = calls.open()
    call.cancel()
    call.cancel()
    await asyncio.sleep(0.05)
    assert await calls.upstream.usage_lookup(calls.endpoint(), "a") is None
    assert (recorder.response, recorder.over.is_set()) == (None, False)


async def test_a_connection_is_used_again(calls: Any) -> None:
    spec = {"connections_max": 1}
    for n in range(5):
        await calls.events("output_tokens=9", attempt_id=f"a{n}", **spec)
    assert calls.upstream.connections == 1


async def test_more_than_the_connections_wait_and_then_fail(calls: Any) -> None:
    spec = {"connections_max": 1, "connect_timeout_ms": 60}
    reader = calls.read("stall_after=1 output_tokens=2", idle_timeout_ms=5_000, **spec)
    await reader.first.wait()
    error = fault(await calls.events(attempt_id="b", **spec))
    assert error.kind == "connect_failed"
    assert "all 1 connections of provider `acme` are busy" in error.message
    reader.call.cancel()
    assert isinstance((await calls.events("output_tokens=1", attempt_id="c", **spec))[-1], Ended)


async def test_each_region_of_a_provider_has_connections_of_its_own(calls: Any) -> None:
    spec = {
        "connections_max": 1,
        "connect_timeout_ms": 60,
        "idle_timeout_ms": 5_000,
        "regions": {"EEA": f"http://localhost:{calls.port}/openai/v1"},
    }
    stalls = "stall_after=1 output_tokens=2"
    near = calls.read(stalls, attempt_id="near", **spec)
    far = calls.read(stalls, attempt_id="far", at="EEA", **spec)  # the first one's is in use
    await asyncio.gather(near.first.wait(), far.first.wait())
    assert calls.upstream.connections == 2
    error = fault(await calls.events(attempt_id="more", at="EEA", **spec))
    assert "all 1 connections of provider `acme` in `EEA` are busy" in error.message
    near.call.cancel()
    events = await calls.events("output_tokens=1", attempt_id="b", **spec)
    assert isinstance(events[-1], Ended)  # the other one is still full
    far.call.cancel()


async def test_those_who_wait_are_served_in_order(calls: Any) -> None:
    spec = {"connections_max": 1, "connect_timeout_ms": 5_000}
    readers = [
        calls.read("output_tokens=3 token_ms=1", attempt_id=f"a{n}", **spec) for n in range(5)
    ]
    ended = []
    for n in range(5):
        await readers[n].over.wait()
        ended.append([reader.over.is_set() for reader in readers])
        assert isinstance(readers[n].batches[-1][-1], Ended)
    assert ended[0] == [True, False, False, False, False]


async def test_a_slow_reader_is_not_the_providers_silence(calls: Any) -> None:
    reader = calls.read("output_tokens=20 token_ms=2", idle_timeout_ms=60)
    await reader.first.wait()
    reader.call.pause()
    await asyncio.sleep(0.2)
    assert not reader.over.is_set()
    reader.call.resume()
    await reader.over.wait()
    assert isinstance(reader.batches[-1][-1], Ended)


async def test_the_total_time_is_bounded_though_tokens_come(calls: Any) -> None:
    events = await calls.events("output_tokens=99 token_ms=10", total_timeout_ms=120)
    assert fault(events).kind == "stalled"
    assert any(isinstance(event, TextDelta) for event in events)


async def test_a_large_prompt_is_sent_whole(calls: Any) -> None:
    await calls.events("output_tokens=1", text="x" * 3_000_000)
    billed = await calls.upstream.usage_lookup(calls.endpoint(), "a")
    assert billed.usage.input_tokens > 750_000


async def test_nobody_listens(calls: Any) -> None:
    error = fault(await calls.events(base_url="http://127.0.0.1:1"))
    assert error.kind == "connect_failed"


@pytest.mark.parametrize("url", ["nonsense", "http://[", "ftp://x", "http://no.such.host.invalid"])
async def test_a_wrong_url_is_an_event(calls: Any, url: str) -> None:
    assert fault(await calls.events(base_url=url)).kind == "connect_failed"


async def test_a_wrong_header_is_an_event(calls: Any) -> None:
    error = fault(await calls.events(headers={"x-a": "very\r\nsecret"}))
    assert error.kind == "connect_failed"
    assert "secret" not in error.message


async def test_missing_credentials_fail_the_attempt_only(calls: Any) -> None:
    error = fault(await calls.events(credentials="env:ZORK"))
    assert (error.kind, error.message) == (
        "auth",
        "no credentials in `env:ZORK`: set the environment variable",
    )


async def test_the_secret_goes_to_the_provider_and_into_no_message(raw: Any, vendor: str) -> None:
    seen = b""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await head(reader)
        body = b'{"error":{"message":"no such key: very-secret"}}'
        writer.write(answer(body, status="401 Unauthorized"))

    calls = await raw(echo)
    error = fault(await calls.events(vendor=vendor, credentials="env:SECRET"))
    assert b"very-secret" in seen
    assert b"accept-encoding: identity" in seen.lower()
    assert (error.kind, error.message) == ("auth", "no such key: [secret]")
    assert "very-secret" not in repr(calls.endpoint(credentials="env:SECRET"))


async def test_redirects_are_not_followed(raw: Any) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer(b"", "location: http://127.0.0.1:1/", status="307 Temporary Redirect"))

    error = fault(await (await raw(redirect)).events(credentials="env:SECRET"))
    assert (error.kind, error.http_status) == ("broken", 307)


async def test_an_error_body_without_end_is_read_to_its_bound(raw: Any) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 500 Oops\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    error = fault(await (await raw(flood)).events())
    assert (error.kind, error.http_status) == ("provider_error", 500)


async def test_an_error_body_that_stalls_leaves_the_status(raw: Any) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 99\r\n\r\n{")
        await reader.read()

    error = fault(await (await raw(stall)).events(idle_timeout_ms=50))
    assert (error.kind, error.retry_after_s) == ("throttled", 7.0)


async def test_a_line_without_end_is_broken(raw: Any) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(CHUNKED + chunk(ONE))
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()

    events = await (await raw(flood)).events()
    assert events[0] == TextDelta("a")
    assert fault(events).kind == "broken"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_event(raw: Any, data: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(data)
        await writer.drain()

    assert fault(await (await raw(nonsense)).events()).kind == "connect_failed"


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + chunk(ONE),
        CHUNKED + chunk(ONE) + b"0\r\n\r\n",
        f"HTTP/1.1 200 OK\r\n{STREAM}\r\ncontent-length: 9999\r\n\r\n".encode() + ONE,
        f"HTTP/1.1 200 OK\r\n{STREAM}\r\n\r\n".encode() + ONE,
    ],
)
async def test_a_stream_that_breaks_off_is_broken(raw: Any, data: bytes) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(data)
        await writer.drain()

    events = await (await raw(breaks)).events()
    assert events[0] == TextDelta("a")
    assert fault(events).kind == "broken"


async def test_chunks_that_are_none_end_the_answer(raw: Any) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(CHUNKED + chunk(ONE))
        await asyncio.sleep(0.02)
        writer.write(b"zork\r\n")
        await writer.drain()

    events = await (await raw(nonsense)).events()
    assert events[0] == TextDelta("a")
    assert fault(events).kind == "broken"
    assert "wrong chunk size" in fault(events).message


async def test_an_answer_that_drips_is_the_same(raw: Any) -> None:
    end = (
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\n\n'
    )

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(CHUNKED)
        for byte in ONE + end:
            writer.write(chunk(bytes([byte])))
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    assert await (await raw(drip)).events() == [TextDelta("a"), Ended("stop", "x")]


async def test_compression_that_was_not_asked_for_is_not_unpacked(raw: Any) -> None:
    async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer(gzip.compress(ONE), STREAM, "content-encoding: gzip"))

    assert fault(await (await raw(bomb)).events()).kind == "broken"


async def test_an_end_that_the_body_does_not_follow_closes_the_connection(raw: Any) -> None:
    closed = asyncio.Event()

    async def talks_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        end = (
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )
        writer.write(CHUNKED + chunk(ONE + end))
        while await reader.read(65536):
            pass
        closed.set()

    events = await (await raw(talks_on)).events()
    assert events == [TextDelta("a"), Ended("stop", "x")]
    await asyncio.wait_for(closed.wait(), 5)


async def test_what_the_books_say_at_once_is_final(calls: Any) -> None:
    endpoint = calls.endpoint()
    knobs = "output_tokens=40 token_ms=0.3 ttft_ms=1"

    async def broken_off(n: int) -> Billed | Unavailable | None:
        task = asyncio.create_task(calls.events(knobs, attempt_id=f"a{n}"))
        await asyncio.sleep(n % 20 * 0.0007)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found: Billed | Unavailable | None = await calls.upstream.usage_lookup(endpoint, f"a{n}")
        return found

    evidence = await asyncio.gather(*(broken_off(n) for n in range(100)))
    await asyncio.sleep(0.05)
    assert await asyncio.gather(
        *(calls.upstream.usage_lookup(endpoint, f"a{n}") for n in range(100))
    ) == list(evidence)
    assert not any(isinstance(found, Unavailable) for found in evidence)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("404 Not Found", b"not found"),
        ("404 Not Found", b'{"error": "no such path"}'),
        ("200 OK", b'{"attempt_id": "other", "status": "complete"}'),
        ("200 OK", b'{"attempt_id": "a", "status": "complete", "input_tokens": -1}'),
        ("200 OK", b"[" * 60_000),
        ("500 Oops", b'{"attempt_id": "a", "status": "complete"}'),
        ("302 Found", b""),
    ],
)
async def test_books_that_cannot_be_read_are_not_an_answer(
    raw: Any, status: str, body: bytes
) -> None:
    async def books(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer(body, "location: /", status=status))

    calls = await raw(books)
    assert isinstance(await calls.upstream.usage_lookup(calls.endpoint(), "a"), Unavailable)


async def test_books_that_stay_open_are_not_an_answer(calls: Any) -> None:
    reader = calls.read("output_tokens=5 stall_after=1", idle_timeout_ms=5_000)
    await reader.first.wait()
    found = await calls.upstream.usage_lookup(calls.endpoint(), "a")
    reader.call.cancel()
    assert isinstance(found, Unavailable)
    assert "still open" in found.message


async def test_books_are_open_while_every_connection_is_busy(calls: Any) -> None:
    spec = {"connections_max": 1, "idle_timeout_ms": 5_000}
    await calls.events("output_tokens=3", attempt_id="b", **spec)
    reader = calls.read("stall_after=1 output_tokens=2", **spec)
    await reader.first.wait()
    assert isinstance(await calls.upstream.usage_lookup(calls.endpoint(**spec), "b"), Billed)
    reader.call.cancel()


async def test_without_books_there_is_nothing_to_ask(calls: Any) -> None:
    for spec in (
        {"usage_path": ""},
        {"base_url": "http://127.0.0.1:1"},
        {"credentials": "env:ZORK"},
    ):
        found = await calls.upstream.usage_lookup(calls.endpoint(**spec), "a")
        assert isinstance(found, Unavailable)
