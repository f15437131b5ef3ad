"""Writes one planned answer to a socket, at its pace, and counts each token before it is written."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from aiohttp import web

from harmost.services.sandbox.billing import Bill, Status
from harmost.services.sandbox.plan import Plan
from harmost.services.sandbox.shape import Shape, escaped

__all__ = ["Delivered", "garble", "stream", "whole"]

# How it ended, and the response that the HTTP server must be given back.
Delivered: TypeAlias = tuple[Status, web.StreamResponse]

# Longer than any client waits.
_STALL_S = 3_600.0
# Written at once where no pace is asked for: few writes, yet a client that left is noticed.
_SLICE_FRAMES = 256

_GARBAGE = {
    "bytes": b"\x00\xff\xfe<html>\x89PNG\r\n\x1a\n data \xc3\x28" * 8,
    "types": b'event: message_start\ndata: {"type":7,"choices":{"index":"none"},"usage":-1}\n\n',
}


async def stream(request: web.BaseRequest, shape: Shape, plan: Plan, bill: Bill) -> Delivered:
    """Stream the answer. Raises ConnectionError or CancelledError where the client is gone."""
    await _pause(plan.ttft_s)
    if plan.output_tokens == 0 and (plan.stalls or plan.breaks):
        await _stop(request, plan)
        return "broken", web.Response()
    response = _event_stream(shape, plan)
    await response.prepare(request)
    pieces = plan.pieces()
    if escaped(plan.text) != plan.text:  # words never need it
        pieces = [escaped(piece) for piece in pieces]
    frames = shape.frames(plan.answer, pieces)
    frames.insert(0, shape.head(plan.answer))
    await _write(response, frames, plan, bill)
    if plan.stalls or plan.breaks:
        await _stop(request, plan)
        return "broken", response
    await response.write_eof(shape.tail(plan.answer))
    return "complete", response


async def whole(request: web.BaseRequest, shape: Shape, plan: Plan, bill: Bill) -> Delivered:
    """Send the answer in one piece. Told to stall or break, it writes nothing."""
    await _pause(plan.time_s())
    if plan.stalls or plan.breaks:
        await _stop(request, plan)
        return "broken", web.Response()
    response = web.Response(
        body=shape.whole(plan.answer, plan.text),
        content_type="application/json",
        headers=shape.headers(plan.answer.attempt_id),
    )
    await response.prepare(request)
    _raise_if_gone(request)
    bill.written(plan.output_tokens)
    await response.write_eof()
    return "complete", response


async def garble(request: web.BaseRequest, shape: Shape, plan: Plan, kind: str) -> Delivered:
    """Answer 200 with what is no event stream."""
    response = _event_stream(shape, plan)
    await response.prepare(request)
    await response.write_eof(_GARBAGE[kind])
    return "broken", response


async def _write(
    response: web.StreamResponse, frames: Sequence[bytes], plan: Plan, bill: Bill
) -> None:
    """Write `frames`, the head first: each when it is due, all that are due in one write."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()  # when the next frame is due
    done = 0
    while done < len(frames):
        ready, due_s = _ready(frames, done, plan, due_s=due_s, now_s=loop.time())
        if ready == done:
            await asyncio.sleep(due_s - loop.time())
            continue
        before = bill.output_tokens
        bill.written(min(plan.output_tokens, (ready - 1) * plan.chunk_tokens))
        try:
            await response.write(b"".join(frames[done:ready]))
        except ConnectionError:
            bill.written(before)  # refused whole: the client was gone already
            raise
        done = ready


def _ready(
    frames: Sequence[bytes], done: int, plan: Plan, *, due_s: float, now_s: float
) -> tuple[int, float]:
    """How many frames are due, of which `done` are written; when the one after them is due."""
    end = min(done + _SLICE_FRAMES, len(frames))
    if plan.gap_s == 0:
        return end, due_s
    ready = done
    while ready < end and due_s <= now_s:
        ready += 1
        if ready > 1:  # the first token goes with the head
            due_s += plan.gap_s * plan.gap_factors[ready % len(plan.gap_factors)]
    return ready, due_s


async def _stop(request: web.BaseRequest, plan: Plan) -> None:
    """Fall silent until the client leaves, or cut the connection after what was written."""
    if plan.stalls:
        await asyncio.sleep(_STALL_S)
    if request.transport is not None:
        request.transport.close()


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


def _event_stream(shape: Shape, plan: Plan) -> web.StreamResponse:
    return web.StreamResponse(
        headers={
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            **shape.headers(plan.answer.attempt_id),
        }
    )


def _raise_if_gone(request: web.BaseRequest) -> None:
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError
