"""Handlers that are not async, run in threads as grpc.aio does: the generated base classes are such.

A method that a servicer does not override answers UNIMPLEMENTED by a plain function. Nothing that
is fast goes through here.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any

import grpc
from grpc.aio import EOF

from .context import Context

__all__ = ["serve"]

_END = object()


async def serve(
    context: Context,
    handler: "grpc.RpcMethodHandler[Any, Any]",
    behaviour: Callable[..., Any],
    request: Any,
    executor: Executor | None,
) -> None:
    """Run a handler that is a plain function or generator function."""
    loop = context.stream.connection.loop
    plain = PlainContext(context)
    if handler.request_streaming:
        request = _requests(plain)
    answer = await loop.run_in_executor(executor, behaviour, request, plain)
    if not handler.response_streaming:
        context.answer(answer)
        return
    responses = iter(answer)
    while (response := await loop.run_in_executor(executor, next, responses, _END)) is not _END:
        await context.write(response)
    context.raise_if_over()
    context.finish()


def _requests(plain: "PlainContext") -> Iterator[Any]:
    while (message := plain.read()) is not EOF:
        yield message


class PlainContext:
    """The context for a thread: coroutines of the real one run on the loop and are waited for."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def read(self) -> Any:
        """The next request message."""
        return self._wait(self._context.read())

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call; raises."""
        self._wait(self._context.abort(code, details, trailing_metadata))

    def abort_with_status(self, status: grpc.Status) -> None:
        """End the call; raises."""
        self._wait(self._context.abort_with_status(status))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata now."""
        self._wait(self._context.send_initial_metadata(initial_metadata))

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        loop = self._context.stream.connection.loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()
