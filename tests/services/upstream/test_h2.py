"""HTTP/2 to providers: streams share connections, and one stream's fate is not another's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from http2_server import END, ONE, STREAM, Http2Server, Peer, whole
from ngh2 import ErrorCode, Setting

from harmost.core.providers.codec import Ended, ProviderError, TextDelta
from harmost.services.upstream import h2, limits

Serve = Callable[..., Awaitable[tuple[Any, Http2Server]]]
MAX_STREAMS = int(Setting.MAX_CONCURRENT_STREAMS)


@pytest.fixture
async def serve(calls: Any) -> AsyncIterator[Serve]:
    """Starts a scripted server; gives calls to it over HTTP/2 without TLS, and the server."""
    async with AsyncExitStack() as stack:

        async def started(handler: Callable[[Peer, int], None], **settings: Any) -> Any:
            server = Http2Server(handler)
            server.settings.update(settings.pop("settings", {}))
            server.resets = settings.pop("resets", server.resets)
            await stack.enter_async_context(server.running())
            return type(calls)(calls.upstream, server.port, http2=True, **settings), server

        yield started
        calls.upstream.close()


def silent(_peer: Peer, _stream_id: int) -> None:
    """Never answers."""


def begins(peer: Peer, stream_id: int) -> None:
    """Answers, and does not end."""
    peer.answer(stream_id, ONE, end=False)


def error_of(recorder: Any) -> ProviderError:
    assert isinstance(recorder.error, ProviderError)
    return recorder.error


async def test_a_whole_answer(serve: Serve) -> None:
    calls, server = await serve(whole)
    assert await calls.events(credentials="env:SECRET", attempt_id="mine") == [
        TextDelta("a"),
        Ended("stop", "x"),
    ]
    headers = dict(server.peers[0].headers[1])
    assert headers[b":path"] == b"/openai/v1/chat/completions"
    assert headers[b":authority"] == f"127.0.0.1:{server.port}".encode()
    assert headers[b"authorization"] == b"Bearer very-secret"
    assert headers[b"x-request-id"] == b"mine"
    assert headers[b"accept-encoding"] == b"identity"
    assert int(headers[b"content-length"]) == len(server.peers[0].bodies[1])


async def test_calls_share_one_connection(serve: Serve) -> None:
    calls, server = await serve(whole)
    answers = await asyncio.gather(*(calls.events(attempt_id=str(n)) for n in range(80)))
    assert all(isinstance(events[-1], Ended) for events in answers)
    assert [len(peer.headers) for peer in server.peers] == [80]


async def test_the_providers_bound_on_streams_is_kept(serve: Serve) -> None:
    def later(peer: Peer, stream_id: int) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, lambda: peer.is_lost or whole(peer, stream_id))

    calls, server = await serve(later, settings={MAX_STREAMS: 3}, connect_timeout_ms=5_000)
    answers = await asyncio.gather(*(calls.events(connections_max=2) for _ in range(30)))
    assert all(isinstance(events[-1], Ended) for events in answers)
    assert [peer.streams_most for peer in server.peers] == [3, 3]


async def test_a_bound_that_sinks_is_kept(serve: Serve) -> None:
    calls, server = await serve(silent, first_byte_timeout_ms=5_000, connect_timeout_ms=300)
    spec = {"connections_max": 1}
    call, _ = calls.open(**spec)
    await server.until(lambda: server.requests == 1)
    server.peers[0].session.update_settings({Setting.MAX_CONCURRENT_STREAMS: 1})
    server.peers[0].flush()
    await asyncio.sleep(0.05)
    _, second = calls.open(**spec)
    await asyncio.sleep(0.05)
    assert server.requests == 1
    call.cancel()
    await server.until(lambda: server.requests == 2)
    assert not second.over.is_set()


async def test_a_bound_of_zero_streams_fails_in_time(serve: Serve) -> None:
    calls, _ = await serve(whole, settings={MAX_STREAMS: 0}, connect_timeout_ms=60)
    _, recorder = calls.open(connections_max=1)
    await recorder.ended()
    assert error_of(recorder).kind == "connect_failed"


async def test_goaway_lets_what_began_end_and_moves_the_rest(serve: Serve) -> None:
    held: list[int] = []

    def goes_away(peer: Peer, stream_id: int) -> None:
        if peer is not server.peers[0]:
            whole(peer, stream_id)
        elif stream_id == 1:
            begins(peer, stream_id)
        else:
            held.append(stream_id)
            peer.session.send_goaway(0, last_stream_id=1)

    calls, server = await serve(goes_away)
    _, first = calls.open()
    await first.began.wait()
    _, second = calls.open()
    await second.ended()
    assert (second.error, second.body) == (None, ONE + END)
    assert not first.over.is_set()
    server.peers[0].send(1, END, end=True)
    await first.ended()
    assert (first.error, first.body) == (None, ONE + END)
    assert len(server.peers) == 2
    await server.until(lambda: server.peers[0].is_lost)  # nothing is left to do on it


async def test_goaway_with_an_error_breaks_what_began(serve: Serve) -> None:
    def ends(peer: Peer, stream_id: int) -> None:
        begins(peer, stream_id)
        peer.session.terminate_connection(int(ErrorCode.INTERNAL_ERROR))
        peer.flush()
        peer.transport.close()

    calls, _ = await serve(ends)
    _, recorder = calls.open()
    await recorder.ended()
    assert recorder.body == ONE
    assert error_of(recorder).kind == "broken"


async def test_a_refused_stream_is_sent_again(serve: Serve) -> None:
    refused: list[int] = []

    def refuses_twice(peer: Peer, stream_id: int) -> None:
        if len(refused) < 2:
            refused.append(stream_id)
            peer.session.reset_stream(stream_id, int(ErrorCode.REFUSED_STREAM))
        else:
            whole(peer, stream_id)

    calls, server = await serve(refuses_twice)
    _, recorder = calls.open()
    await recorder.ended()
    assert (recorder.error, recorder.body, server.requests) == (None, ONE + END, 3)


async def test_a_provider_that_always_refuses_is_overloaded(serve: Serve) -> None:
    def refuses(peer: Peer, stream_id: int) -> None:
        peer.session.reset_stream(stream_id, int(ErrorCode.REFUSED_STREAM))

    calls, server = await serve(refuses)
    _, recorder = calls.open()
    await recorder.ended()
    assert error_of(recorder).kind == "overloaded"
    assert server.requests == limits.REFUSALS_MAX + 1


@pytest.mark.parametrize(
    ("answers", "code", "kind"),
    [
        (True, ErrorCode.INTERNAL_ERROR, "broken"),
        (True, ErrorCode.REFUSED_STREAM, "broken"),
        (True, ErrorCode.NO_ERROR, "broken"),
        (False, ErrorCode.INTERNAL_ERROR, "connect_failed"),
        (False, ErrorCode.HTTP_1_1_REQUIRED, "connect_failed"),
    ],
)
async def test_a_reset_ends_its_own_stream_only(
    serve: Serve, answers: bool, code: ErrorCode, kind: str
) -> None:
    def resets_third(peer: Peer, stream_id: int) -> None:
        if stream_id != 3:
            begins(peer, stream_id)
            return
        if answers:
            begins(peer, stream_id)
        peer.session.reset_stream(stream_id, int(code))

    calls, server = await serve(resets_third)
    _, first = calls.open()
    await first.began.wait()
    _, second = calls.open()
    await second.ended()
    assert error_of(second).kind == kind
    assert (code == ErrorCode.HTTP_1_1_REQUIRED) == ("http2: false" in error_of(second).message)
    assert not first.over.is_set()
    server.peers[0].send(1, END, end=True)
    await first.ended()
    assert first.body == ONE + END


async def test_cancel_resets_the_stream_in_the_same_turn(serve: Serve) -> None:
    calls, server = await serve(begins)
    call, recorder = calls.open()
    other, spared = calls.open()
    await recorder.began.wait()
    await spared.began.wait()
    call.cancel()
    await server.until(lambda: server.peers[0].closed)
    assert server.peers[0].closed == {1: int(ErrorCode.CANCEL)}
    assert not recorder.over.is_set()
    assert not spared.over.is_set()
    other.cancel()


async def test_cancelling_in_the_sink_stops_its_events(serve: Serve) -> None:
    def talks(peer: Peer, stream_id: int) -> None:
        peer.answer(stream_id, *[ONE * 200] * 20)

    calls, server = await serve(talks)
    call, recorder = calls.open()
    recorder.on_first = call.cancel
    await server.until(lambda: server.peers and server.peers[0].closed)
    await asyncio.sleep(0.02)
    assert len(recorder.data) == 1
    assert not recorder.over.is_set()


async def test_pausing_stalls_one_stream_only_and_bounds_what_it_holds(serve: Serve) -> None:
    flood = ONE * 16_000  # a megabyte

    def floods(peer: Peer, stream_id: int) -> None:
        peer.answer(stream_id, ONE, end=False)

    calls, server = await serve(floods, idle_timeout_ms=5_000)
    call, slow = calls.open()
    _, fast = calls.open()
    await slow.began.wait()
    await fast.began.wait()
    call.pause()
    await asyncio.sleep(0.02)
    peer = server.peers[0]
    peer.send(1, flood, end=True)
    peer.send(3, flood, end=True)
    await fast.ended()
    assert fast.body == ONE + flood
    await asyncio.sleep(0.05)
    assert len(slow.body) <= limits.STREAM_WINDOW_BYTES + len(ONE)
    assert not slow.over.is_set()
    call.resume()
    await slow.ended()
    assert slow.body == ONE + flood


async def test_many_paused_streams_leave_the_connection_open(serve: Serve) -> None:
    spec = {"idle_timeout_ms": 9_000, "connections_max": 1}
    calls, server = await serve(begins, settings={MAX_STREAMS: 500}, **spec)
    paused = [calls.open() for _ in range(300)]
    for call, recorder in paused:
        await recorder.began.wait()
        call.pause()
    await asyncio.sleep(0.05)
    for stream_id in list(server.peers[0].headers):
        server.peers[0].send(stream_id, b"x" * 200_000)
    _, recorder = calls.open()
    await recorder.began.wait()
    server.peers[0].send(601, ONE * 4_000, end=True)
    await recorder.ended()
    assert len(recorder.body) == len(ONE) * 4_001
    assert sum(len(r.body) for _, r in paused) <= 300 * (limits.STREAM_WINDOW_BYTES + len(ONE))


async def test_resets_are_rationed_and_all_are_sent_in_the_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h2, "CANCELS_BURST", 5)
    monkeypatch.setattr(h2, "CANCELS_PER_S", 50.0)
    calls, server = await serve(begins, resets=(6, 60), idle_timeout_ms=9_000)
    opened = [calls.open() for _ in range(20)]
    spared, recorder = calls.open()
    for _, began in opened:
        await began.began.wait()
    for call, _ in opened:
        call.cancel()
    await server.until(lambda: server.peers[0].closed)
    assert len(server.peers[0].closed) <= 6
    await server.until(lambda: len(server.peers[0].closed) == 20)
    assert set(server.peers[0].closed.values()) == {int(ErrorCode.CANCEL)}
    assert not recorder.over.is_set()
    spared.cancel()


async def test_a_cancelled_stream_that_waits_for_its_reset_gets_little(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h2, "CANCELS_BURST", 1)
    monkeypatch.setattr(h2, "CANCELS_PER_S", 4.0)
    calls, server = await serve(begins, idle_timeout_ms=9_000)
    opened = [calls.open(), calls.open()]
    for call, recorder in opened:
        await recorder.began.wait()
        call.cancel()
    await server.until(lambda: server.peers[0].closed)
    server.peers[0].send(3, b"x" * 1_000_000)
    await asyncio.sleep(0.05)
    assert server.peers[0].session.queued_body_size(3) > 900_000
    await server.until(lambda: len(server.peers[0].closed) == 2)


async def test_silence_before_and_after_the_first_byte_stalls_one_stream(serve: Serve) -> None:
    def half(peer: Peer, stream_id: int) -> None:
        if stream_id != 1:
            begins(peer, stream_id)

    calls, server = await serve(half, first_byte_timeout_ms=60, idle_timeout_ms=60)
    _, mute = calls.open()
    _, stalls = calls.open()
    _, lives = calls.open(idle_timeout_ms=9_000)
    await mute.ended()
    await stalls.ended()
    assert error_of(mute).kind == error_of(stalls).kind == "stalled"
    assert (mute.body, stalls.body) == (b"", ONE)
    await server.until(lambda: set(server.peers[0].closed) == {1, 3})
    assert not lives.over.is_set()


async def test_a_broken_connection_breaks_its_calls_and_is_replaced(serve: Serve) -> None:
    def half(peer: Peer, stream_id: int) -> None:
        if peer is not server.peers[0]:
            whole(peer, stream_id)
        elif stream_id == 1:
            begins(peer, stream_id)

    calls, server = await serve(half)
    _, began = calls.open()
    _, mute = calls.open()
    await began.began.wait()
    await server.until(lambda: server.requests == 2)
    server.peers[0].transport.abort()
    await began.ended()
    await mute.ended()
    assert (error_of(began).kind, error_of(mute).kind) == ("broken", "connect_failed")
    assert isinstance((await calls.events())[-1], Ended)


async def test_bytes_that_are_no_http2_break_the_connection(serve: Serve) -> None:
    def garbage(peer: Peer, _stream_id: int) -> None:
        peer.transport.write(b"\xff" * 100)

    calls, _ = await serve(garbage)
    _, recorder = calls.open()
    await recorder.ended()
    assert error_of(recorder).kind == "connect_failed"


async def test_a_server_of_http1_is_no_server_of_http2(calls: Any) -> None:
    _, recorder = calls.open(http2=True, connect_timeout_ms=200)
    await recorder.ended()
    assert error_of(recorder).kind == "connect_failed"


async def test_an_oversize_header_list_is_an_error(serve: Serve) -> None:
    def oversize(peer: Peer, stream_id: int) -> None:
        fields = [(b"x-%d" % n, b"v" * 4_000) for n in range(40)]
        peer.session.send_response(stream_id, [*STREAM, *fields])

    calls, _ = await serve(oversize)
    _, recorder = calls.open()
    await recorder.ended()
    assert error_of(recorder).kind == "connect_failed"


async def test_a_refusal_is_the_codecs_error_without_the_secret(serve: Serve) -> None:
    def denies(peer: Peer, stream_id: int) -> None:
        peer.session.send_response(stream_id, [(b":status", b"401"), (b"retry-after", b"7")])
        body = b'{"error":{"message":"no such key: very-secret"}}'
        peer.session.send_data(stream_id, body, end_stream=True)

    calls, _ = await serve(denies)
    _, recorder = calls.open(credentials="env:SECRET")
    await recorder.ended()
    error = error_of(recorder)
    assert (error.kind, error.message) == ("auth", "no such key: [secret]")
    assert error.http_status == 401


async def test_a_refusal_without_end_is_read_to_its_bound(serve: Serve) -> None:
    def floods(peer: Peer, stream_id: int) -> None:
        peer.session.send_response(stream_id, [(b":status", b"500")])
        peer.session.send_data(stream_id, b"x" * 3_000_000)

    calls, server = await serve(floods)
    _, recorder = calls.open()
    await recorder.ended()
    assert error_of(recorder).kind == "provider_error"
    await server.until(lambda: server.peers[0].closed)


async def test_a_prompt_larger_than_every_window_is_sent_whole(serve: Serve) -> None:
    calls, server = await serve(whole)
    text = "x" * 3_000_000
    assert isinstance((await calls.events(text=text))[-1], Ended)
    assert text.encode() in server.peers[0].bodies[1]


async def test_an_answer_before_the_prompt_is_read_ends_the_call(serve: Serve) -> None:
    calls, server = await serve(whole, settings={int(Setting.INITIAL_WINDOW_SIZE): 0})

    async def refuse() -> None:
        await server.until(lambda: server.requests == 1)
        peer = server.peers[0]
        peer.session.send_response(1, [(b":status", b"413")], end_stream=True)
        peer.flush()

    task = asyncio.create_task(refuse())
    _, recorder = calls.open()
    await recorder.ended()
    await task
    assert error_of(recorder).kind == "context_too_long"
    await server.until(lambda: server.peers[0].closed)


async def test_leaving_keeps_the_connection_and_resets_what_does_not_end(serve: Serve) -> None:
    calls, server = await serve(lambda peer, n: peer.answer(n, ONE, END, end=n != 1))
    assert isinstance((await calls.events())[-1], Ended)  # the body never ends
    assert isinstance((await calls.events())[-1], Ended)
    await server.until(lambda: 1 in server.peers[0].closed)
    assert server.peers[0].closed[1] == int(ErrorCode.CANCEL)
    assert len(server.peers) == 1


PATIENT = {"first_byte_timeout_ms": 9_000, "idle_timeout_ms": 9_000}
PINGS = {"ping_after_ms": 50, "ping_timeout_ms": 50}


async def test_a_silent_peer_is_asked_and_then_given_up(serve: Serve) -> None:
    calls, server = await serve(begins, **PATIENT, **PINGS)
    _, recorder = calls.open()
    await recorder.began.wait()
    await asyncio.sleep(0.25)  # the server's library acknowledges
    assert not recorder.over.is_set()
    assert server.peers[0].pings >= 2
    server.peers[0].transport.pause_reading()
    await recorder.ended()
    assert error_of(recorder).kind == "broken"


async def test_a_provider_that_wants_no_pings_gets_none(serve: Serve) -> None:
    calls, server = await serve(begins, **PATIENT, ping_after_ms=0, ping_timeout_ms=50)
    _, recorder = calls.open()
    await recorder.began.wait()
    await asyncio.sleep(0.25)
    assert server.peers[0].pings == 0
    assert not recorder.over.is_set()


async def test_a_provider_that_speaks_is_not_pinged(serve: Serve) -> None:
    calls, server = await serve(begins, **PATIENT, ping_after_ms=500, ping_timeout_ms=50)
    _, recorder = calls.open()
    await recorder.began.wait()
    for _ in range(12):
        await asyncio.sleep(0.05)
        server.peers[0].send(1, ONE)
    assert server.peers[0].pings == 0
    assert not recorder.over.is_set()


async def test_a_connection_that_died_while_unused_is_found_before_its_next_call_times_out(
    serve: Serve,
) -> None:
    calls, server = await serve(whole, **PATIENT, ping_after_ms=100, ping_timeout_ms=50)
    await calls.events()
    await asyncio.sleep(0.2)
    assert server.peers[0].pings == 0  # an unused connection is left alone
    server.peers[0].transport.pause_reading()
    _, recorder = calls.open()
    await recorder.ended(timeout_s=5)  # not the 9 s that its provider may think
    assert error_of(recorder).kind == "connect_failed"
    assert isinstance((await calls.events())[-1], Ended)
    assert len(server.peers) == 2


async def test_an_unused_connection_is_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h2, "IDLE_S", 0.05)
    calls, server = await serve(whole)
    await calls.events()
    await server.until(lambda: server.peers[0].is_lost)
    assert calls.upstream.connections == 0


async def test_a_sink_that_raises_costs_its_own_call_only(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    calls, server = await serve(begins)
    _, lives = calls.open()
    await lives.began.wait()
    _, bad = calls.open()

    def raises() -> None:
        raise RuntimeError("bug")

    bad.on_first = raises
    await server.until(lambda: server.peers[0].closed)
    assert server.peers[0].closed == {3: int(ErrorCode.CANCEL)}
    assert "the sink of a call to provider `acme` raised" in caplog.text
    server.peers[0].send(1, END, end=True)
    await lives.ended()
    assert lives.error is None


async def test_closing_the_client_breaks_what_is_under_way(serve: Serve) -> None:
    calls, _ = await serve(begins)
    _, recorder = calls.open()
    await recorder.began.wait()
    calls.upstream.close()
    await recorder.ended()
    assert error_of(recorder).kind == "broken"
    _, late = calls.open()
    await late.ended()
    assert error_of(late).kind == "connect_failed"


async def test_a_thousand_calls_over_few_connections(serve: Serve) -> None:
    calls, server = await serve(whole, settings={MAX_STREAMS: 128}, connect_timeout_ms=9_000)
    answers = await asyncio.gather(*(calls.events(connections_max=4) for _ in range(1_000)))
    assert all(isinstance(events[-1], Ended) for events in answers)
    assert len(server.peers) <= 4
    assert max(peer.streams_most for peer in server.peers) <= 128
