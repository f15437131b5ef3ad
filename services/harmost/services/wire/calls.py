"""Runs handlers: finds one for a call, runs its shape in a task, and turns what it raises into a status.

One task a call and none a message.
"""

import asyncio
import inspect
import logging
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

StreamHandler = Callable[[Stream, bytes], None]
if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # not generic at run time


@dataclass(frozen=True, slots=True)
class Route:
    """A method handler, looked at once."""

    handler: Handler
    behaviour: Callable[..., Any]
    is_async: bool
    is_generator: bool

    @classmethod
    def of(cls, handler: Handler) -> "Route":
        """The route to `handler`."""
        name = f"{_shape(handler.request_streaming)}_{_shape(handler.response_streaming)}"
        behaviour: Callable[..., Any] = getattr(handler, name)
        is_generator = inspect.isasyncgenfunction(behaviour)
        is_async = is_generator or inspect.iscoroutinefunction(behaviour)
        return cls(handler, behaviour, is_async, is_generator)


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
        self._executor = executor
        self._routes: dict[bytes, Route] = {}
        self._streams: dict[bytes, StreamHandler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self.running: set[asyncio.Task[None]] = set()

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ask `handlers`, in order, for methods that are not registered."""
        self._generic.extend(handlers)

    def add_registered(self, service: str, handlers: dict[str, Handler]) -> None:
        """Serve `/service/method` by the handler of that name."""
        for name, handler in handlers.items():
            self._routes[f"/{service}/{name}".encode()] = Route.of(handler)

    def add_stream(self, method: str, handler: StreamHandler) -> None:
        """Serve `method` by `handler(stream, message)`, called without a task or interceptor."""
        self._streams[method.encode()] = handler

    def begin(self, stream: Stream) -> None:
        """Take a new call: at once, or with its message where the method takes exactly one."""
        route = self._routes.get(stream.path)
        if route is not None and not route.handler.request_streaming:
            stream.on_message = self._start
        elif stream.path in self._streams:
            stream.on_message = self._streams[stream.path]
        else:
            self._start(stream, None)

    def _start(self, stream: Stream, message: bytes | None) -> None:
        task = stream.connection.loop.create_task(self._run(stream, message))
        stream.task = task
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, stream: Stream, message: bytes | None) -> None:
        """The task of a call: every way in which it can end, ends here."""
        context = Context(stream)
        if self._compression is not None:
            context.use_compression(self._compression)
        try:
            route = self._routes.get(stream.path)
            if self._interceptors or route is None:
                route = await self._find(context, route)
            if route is not None:
                await self._serve(context, route, message)
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
            context.run_done_callbacks()

    def _unexpected(self, context: Context, error: Exception) -> None:
        if context.stream.cancelled:
            return  # a handler that trips over the end of its own call
        method = context.stream.path.decode()
        _log.exception("unexpected %s raised by method [%s]", type(error).__name__, method)
        context.finish_unexpected(error)

    # --- Finding ---------------------------------------------------------------------------------

    async def _find(self, context: Context, known: Route | None) -> Route | None:
        """The route that the interceptors let through; None when the call was answered here."""
        details = CallDetails(context.stream.path.decode(), context.invocation_metadata())
        handler = await self._intercept(0, details)
        if handler is None:
            context.stream.finish(status.UNIMPLEMENTED, "Method not found!")
            return None
        return known if known is not None and handler is known.handler else Route.of(handler)

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

    # --- The four shapes -------------------------------------------------------------------------

    async def _serve(self, context: Context, route: Route, message: bytes | None) -> None:
        if self._calls_max is not None and len(self.running) > self._calls_max:
            context.stream.finish(status.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            return
        handler = route.handler
        context.deserialize = handler.request_deserializer
        context.serialize = handler.response_serializer
        request = await self._request(context, handler, message)
        if not route.is_async:
            await threads.serve(context, route.handler, route.behaviour, request, self._executor)
        elif not handler.response_streaming:
            context.answer(await route.behaviour(request, context))
        elif route.is_generator:
            await self._stream(context, route.behaviour(request, context))
        else:
            await route.behaviour(request, context)
            self._finish(context)

    async def _request(self, context: Context, handler: Handler, message: bytes | None) -> Any:
        """What the handler's first argument is to be."""
        if handler.request_streaming:
            return RequestIterator(context)
        if message is None:  # a method that was not known when the call began
            message = await context.stream.receive()
            if message is None:
                raise MessageError(status.UNIMPLEMENTED, "method takes one request message, not 0")
        return message if context.deserialize is None else context.deserialize(message)

    async def _stream(self, context: Context, responses: Any) -> None:
        """Send what the handler yields, as fast as the caller reads it."""
        try:
            async for response in responses:
                if not context.send(response):
                    await context.stream.drained()
        except BaseException:
            await responses.aclose()  # its finally blocks run now, not when it is collected
            raise
        self._finish(context)

    def _finish(self, context: Context) -> None:
        """End a call whose handler has returned; it may have given its stream away and ended it."""
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
