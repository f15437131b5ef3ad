"""Runs handlers: finds one for a call, runs it in a task, turns what it raises into a status.

One task a call and none a message.
"""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from grpc.aio import EOF, AbortError

from . import status, threads
from .context import Context
from .inbox import MessageError
from .stream import Stream

__all__ = ["Calls", "RequestIterator", "Route", "StreamHandler"]

_log = logging.getLogger(__name__)

# Calls that begin in one turn of the loop, and that are cut, of all connections: a handler's first step
# may take 0.3 ms, its last as much, and whoever opens 500 at once, or leaves them with one connection,
# must not hold up everyone's tokens for the sum of them.
TURN_CALLS_MAX = 4

StreamHandler = Callable[[Stream, bytes], None]
if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # not generic at run time


class Route:
    """A method handler, looked at once."""

    __slots__ = (
        "behaviour",
        "deserialize",
        "handler",
        "is_async",
        "is_generator",
        "is_streaming",
        "serialize",
    )

    def __init__(self, handler: Handler) -> None:
        name = f"{_shape(handler.request_streaming)}_{_shape(handler.response_streaming)}"
        self.handler = handler
        self.behaviour: Callable[..., Any] = getattr(handler, name)
        self.is_generator = inspect.isasyncgenfunction(self.behaviour)
        self.is_async = self.is_generator or inspect.iscoroutinefunction(self.behaviour)
        self.is_streaming = handler.response_streaming
        self.deserialize = handler.request_deserializer
        self.serialize = handler.response_serializer


def _shape(streaming: bool) -> str:
    return "stream" if streaming else "unary"


@dataclass(slots=True)
class CallDetails:
    """What interceptors are told about a call; a `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


class Calls:
    """The methods of one server and the calls that run."""

    def __init__(
        self,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        calls_max: int | None,
        compression: grpc.Compression | None,
        executor: Executor | None,
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._calls_max = calls_max
        self._compression = compression
        self._is_guarded = bool(interceptors or calls_max or compression)
        self._executor = executor
        self._routes: dict[bytes, Route] = {}
        # What interceptors made of a method the last time: most wrap it once, and a look costs 4 us.
        self._intercepted: dict[bytes, Route] = {}  # bounded: paths of `_routes` only
        self._starters: dict[bytes, StreamHandler] = {}  # of methods that take one message
        self._generic: list[grpc.GenericRpcHandler] = []
        self.running: set[asyncio.Task[None]] = set()
        self._begun = 0  # calls, in this turn of the loop
        self._waiting: deque[tuple[Stream, bytes | None]] = deque()  # bounded by open streams
        self._cut = 0  # calls, in this turn of the loop
        self._to_cut: deque[Stream] = deque()  # bounded by running calls
        self._turn_due = False

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ask `handlers`, in order, for methods that are not registered."""
        self._generic.extend(handlers)

    def add_registered(self, service: str, handlers: dict[str, Handler]) -> None:
        """Serve `/service/method` by the handler of that name."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}".encode()
            self._routes[path] = Route(handler)
            if not handler.request_streaming:
                self._starters.setdefault(path, self._start)

    def add_stream(self, method: str, handler: StreamHandler) -> None:
        """Serve `method` by `handler(stream, message)`, called without a task or interceptor."""
        self._starters[method.encode()] = handler

    def begin(self, stream: Stream) -> None:
        """Take a new call: at once, or with its message where the method takes exactly one."""
        starter = self._starters.get(stream.path)
        if starter is None:
            self._start(stream, None)
        else:
            stream.on_message = starter

    def _start(self, stream: Stream, message: bytes | None) -> None:
        """Start the call's task, or have it wait for a later turn where many begin in this one."""
        if self._begun < TURN_CALLS_MAX:
            self._begun += 1
            self._run_task(stream, message)
        else:
            self._waiting.append((stream, message))
        self._turn_soon(stream.connection.loop)

    def cut(self, stream: Stream) -> None:
        """Cancel the task of a call, or have that wait for a later turn where many are cut in this one."""
        if self._cut < TURN_CALLS_MAX:
            self._cut += 1
            _cancel(stream)
        else:
            self._to_cut.append(stream)
        self._turn_soon(stream.connection.loop)

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turn_due:
            self._turn_due = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn is over: cut and start what waited, unless it has ended meanwhile."""
        self._begun = self._cut = 0
        while self._to_cut and self._cut < TURN_CALLS_MAX:
            self._cut += 1
            _cancel(self._to_cut.popleft())
        waiting = self._waiting
        while waiting and self._begun < TURN_CALLS_MAX:
            stream, message = waiting.popleft()
            if not stream.finished:
                self._begun += 1
                self._run_task(stream, message)
        self._turn_due = bool(self._begun or self._cut)
        if self._turn_due:
            loop.call_soon(self._turn, loop)

    def _run_task(self, stream: Stream, message: bytes | None) -> None:
        stream.task = task = stream.connection.loop.create_task(self._run(stream, message))
        self.running.add(task)

    async def _run(self, stream: Stream, message: bytes | None) -> None:
        """The task of a call: every way in which it can end, ends here."""
        context = Context(stream)
        stream.entered = True
        try:
            if stream.finished:
                return  # cancelled in the turn in which it began
            route = self._routes.get(stream.path)
            if self._is_guarded or route is None:
                route = await self._admit(context, route)
                if route is None:
                    return
            if route.serialize is not None:
                context.serialize = route.serialize
            if route.deserialize is not None:
                context.deserialize = route.deserialize
            if message is None:
                request = await _late_request(context, route)
            else:
                request = context.deserialize(message)
                message = None
            # Flat on purpose: each coroutine between a task and its handler would be entered again
            # for every message.
            if not route.is_async:
                await threads.serve(
                    context, route.handler, route.behaviour, request, self._executor
                )
                return
            handling = route.behaviour(request, context)
            del request  # kept by the handler for as long as it wants: some streams run for hours
            if not route.is_streaming:
                context.answer(await handling)
            elif not route.is_generator:
                await handling
                _finish(context)
            else:
                answers = handling
                send = context.send
                try:
                    async for answer in answers:
                        if not send(answer):
                            await stream.drained()
                finally:
                    await answers.aclose()  # its finally blocks run now, not when it is collected
                _finish(context)
        except AbortError as error:
            if error is not context.abort_error:
                context.finish_unexpected(error)
        except MessageError as error:
            stream.finish(error.code, error.details)
        except asyncio.CancelledError:
            stream.finish(status.CANCELLED, "call was cancelled by its handler")
            raise
        except Exception as error:  # noqa: BLE001 - the task root
            self._unexpected(context, error)
        finally:
            if context.has_callbacks:
                context.run_done_callbacks()
            if context.abort_error is not None:
                context.forget_abort()
            if stream.task is not None:
                self.running.discard(stream.task)
                # A task that was cancelled keeps its error, and that this frame, which has the stream.
                stream.task = None

    def _unexpected(self, context: Context, error: Exception) -> None:
        if context.stream.cancelled:
            return  # a handler that trips over the end of its own call
        method = context.stream.path.decode()
        _log.exception("unexpected %s raised by method [%s]", type(error).__name__, method)
        context.finish_unexpected(error)

    # --- Finding ---------------------------------------------------------------------------------

    async def _admit(self, context: Context, known: Route | None) -> Route | None:
        """The route that interceptors and limits let through; None when the call was answered."""
        if self._compression is not None:
            context.use_compression(self._compression)
        details = CallDetails(context.stream.path.decode(), context.invocation_metadata())
        handler = await self._intercept(0, details)
        if handler is None:
            context.stream.finish(status.UNIMPLEMENTED, "Method not found!")
            return None
        if self._calls_max is not None and len(self.running) > self._calls_max:
            context.stream.finish(status.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            return None
        if known is None:
            return Route(handler)
        route = self._intercepted.get(context.stream.path, known)
        if route.handler is not handler:
            route = self._intercepted[context.stream.path] = Route(handler)
        return route

    async def _intercept(self, index: int, details: grpc.HandlerCallDetails) -> Handler | None:
        if index == len(self._interceptors):
            return self._lookup(details)

        def proceed(details: grpc.HandlerCallDetails) -> Awaitable[Handler | None]:
            return self._intercept(index + 1, details)

        interceptor: Any = self._interceptors[index]
        handler: Handler | None = await interceptor.intercept_service(proceed, details)
        return handler

    def _lookup(self, details: grpc.HandlerCallDetails) -> Handler | None:
        route = self._routes.get(details.method.encode())
        if route is not None:
            return route.handler
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return handler
        return None


def _cancel(stream: Stream) -> None:
    if stream.task is not None:
        stream.task.cancel()


async def _late_request(context: Context, route: Route) -> Any:
    """The first argument of a handler whose call began before its message."""
    if route.handler.request_streaming:
        return RequestIterator(context)
    message = await context.stream.receive()
    if message is None:
        raise MessageError(status.UNIMPLEMENTED, "method takes one request message, not 0")
    return context.deserialize(message)


def _finish(context: Context) -> None:
    """End a call whose handler has returned; it may have ended it on the low-level face."""
    if context.abort_error is not None:
        raise context.abort_error
    context.finish()


class RequestIterator:
    """The request messages of a call, for `async for`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __aiter__(self) -> "RequestIterator":
        return self

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is EOF:
            raise StopAsyncIteration
        return message
