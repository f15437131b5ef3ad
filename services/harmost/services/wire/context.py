"""A grpc.aio.ServicerContext over a stream: what a handler may ask and say about its call.

Where grpc.aio documents one thing and does another, this does what it does, so that handlers see no
difference; the contract suite runs every case on both.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc
from grpc.aio import EOF, AbortError, UsageError

from . import compression, status
from .inbox import MessageError
from .metadata import Metadatum, check_metadata
from .stream import Stream

__all__ = ["Context"]

_log = logging.getLogger(__name__)


class Context(grpc.aio.ServicerContext[Any, Any]):
    """One call, as its handler sees it. Made once a call; no method blocks the loop."""

    # Defaults are the class's: a call sets only what differs.
    abort_error: AbortError | None = None
    _code: object = None
    _details = ""
    _trailing: tuple[tuple[str, str | bytes], ...] = ()
    _callbacks: list[Callable[[Any], object]] | None = None
    _compress_next = True
    has_callbacks = False

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.deserialize: Callable[[bytes], Any] = _same
        self.serialize: Callable[[Any], bytes] = _same

    # --- Messages --------------------------------------------------------------------------------

    async def read(self) -> Any:
        """The next request message, `grpc.aio.EOF` after the last."""
        self.raise_if_over()
        try:
            message = await self.stream.receive()
        except MessageError as error:
            await self.abort(_code_named(error.code), error.details)
        self.raise_if_over()
        if message is None:
            return EOF
        return self.deserialize(message)

    async def write(self, message: Any) -> None:
        """Send one response message; waits while the caller does not read what was sent before."""
        if not self.send(message):
            await self.stream.drained()

    def send(self, message: Any) -> bool:
        """Queue one response message; False asks to wait for `stream.drained()`."""
        stream = self.stream
        if self.abort_error is not None or stream.finished:
            self.raise_if_over()
        raw = self.serialize(message)
        if len(raw) > stream.connection.send_bytes_max:
            raise self._too_large(len(raw))
        if stream.gzip:
            return self._send_gzip(raw)
        return stream.send(raw)

    def _send_gzip(self, raw: bytes) -> bool:
        if self._compress_next:
            return self.stream.send_compressed(raw)
        self._compress_next = True
        return self.stream.send(raw)

    def _too_large(self, size: int) -> MessageError:
        bytes_max = self.stream.connection.send_bytes_max
        text = f"SERVER: Sent message larger than max ({size} vs. {bytes_max})"
        return MessageError(status.RESOURCE_EXHAUSTED, text)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata now. Raises UsageError when they were sent already."""
        self.raise_if_over()
        if self.stream.headers_sent:
            raise UsageError("Send initial metadata failed: already sent")
        self.stream.set_initial_metadata(check_metadata(initial_metadata))
        self.stream.send_headers()

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compress what is sent from here on, if the caller accepts it."""
        if self.stream.headers_sent:
            raise RuntimeError(
                "Compression setting must be specified before sending initial metadata"
            )
        self.use_compression(compression)

    def use_compression(self, wanted: object) -> None:
        """Turn gzip on where `wanted` asks for compression and the caller accepts gzip."""
        gzip = compression.algorithm_name(wanted) == compression.GZIP
        self.stream.gzip = gzip and self.stream.accept_gzip

    def disable_next_message_compression(self) -> None:
        """Send the next message plain."""
        self._compress_next = False

    # --- Status ----------------------------------------------------------------------------------

    def finish(self) -> None:
        """End the call with the status that the handler set, OK without one."""
        code = status.OK if self._code is None else status.code_of(self._code)
        self.stream.finish(code, self._details, self._trailing)

    def answer(self, message: Any) -> None:
        """End a call that has one response; with a status other than OK it is not sent."""
        stream = self.stream
        if self.abort_error is not None or stream.finished:
            self.raise_if_over()
        if self._code is None and not self._trailing and not self._details:
            raw = self.serialize(message)
            if len(raw) > stream.connection.send_bytes_max:
                raise self._too_large(len(raw))
            stream.answer(raw)
            return
        if status.code_of(self._code or status.OK) == status.OK:
            self.send(message)
        self.finish()

    def finish_unexpected(self, error: BaseException) -> None:
        """End the call after its handler raised `error`: UNKNOWN unless it had set a code."""
        code = status.OK if self._code is None else status.code_of(self._code)
        details = f"Unexpected {type(error)}: {error}"
        self.stream.finish(code or status.UNKNOWN, details, self._trailing)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with `code` at once and raise AbortError, which is not to be caught."""
        if self.abort_error is not None:
            raise UsageError("Abort already called!")
        self.abort_error = error = AbortError("Locally aborted.")
        self._code = code
        self._details = details or self._details
        if trailing_metadata or not self._trailing:
            self._trailing = check_metadata(trailing_metadata)
        self.finish()
        try:
            raise error
        finally:
            del error  # this frame is in its traceback

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """`abort` with the three parts of a rich status."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def raise_if_over(self) -> None:
        """Raise when the handler goes on after its call has ended."""
        if self.abort_error is not None:
            raise self.abort_error
        if self.stream.finished:
            raise UsageError("RPC already finished.")

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Metadata to send with the status. Raises TypeError unless they are pairs."""
        self._trailing = check_metadata(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """What `set_trailing_metadata` set."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """The code to end with."""
        self._code = code

    def code(self) -> Any:
        """What `set_code` set; None before."""
        return self._code

    def set_details(self, details: str) -> None:
        """The message to end with."""
        self._details = details

    def details(self) -> str:
        """What `set_details` set."""
        return self._details

    # --- The call --------------------------------------------------------------------------------

    def invocation_metadata(self) -> Any:
        """The caller's metadata as (key, value) tuples."""
        found: tuple[Metadatum, ...] = self.stream.metadata()
        return found

    def time_remaining(self) -> Any:
        """Seconds until the caller's deadline, at least 0; None without a deadline."""
        deadline_s = self.stream.deadline_s
        if deadline_s is None:
            return None
        return max(0.0, deadline_s - self.stream.connection.loop.time())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(context)` when the call is over."""
        if self._callbacks is None:
            self._callbacks = []
        self.has_callbacks = True
        self._callbacks.append(callback)

    def forget_abort(self) -> None:
        """Let go of the frames that `abort` was called in, which hold this context; by who ran the handler."""
        error = self.abort_error
        if error is not None:
            error.__traceback__ = error.__context__ = error.__cause__ = None

    def run_done_callbacks(self) -> None:
        """Called once, by whoever ran the handler."""
        callbacks, self._callbacks = self._callbacks, None
        try:
            for callback in callbacks or ():
                callback(self)
        except Exception:  # noqa: BLE001 - as grpc.aio: it must not break the server
            _log.exception("error in callback for method [%s]", self.stream.path.decode())

    def cancelled(self) -> bool:
        """Whether the caller, its deadline or its connection ended the call."""
        return self.stream.cancelled or status.code_of(self._code) == status.CANCELLED

    def done(self) -> bool:
        """Whether a status was sent or the call is gone."""
        return self.stream.finished

    # --- The peer --------------------------------------------------------------------------------

    def peer(self) -> str:
        """The peer's address in gRPC's form, such as `ipv4:127.0.0.1:4711`."""
        return self.stream.connection.peer

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS proved about the peer, under gRPC's names."""
        return self.stream.connection.identity.properties

    def peer_identity_key(self) -> str | None:
        """The name of the property that identifies the peer; None without a client certificate."""
        return self.stream.connection.identity.key

    def peer_identities(self) -> Iterable[bytes] | None:
        """The peer's names under `peer_identity_key`; None without a client certificate."""
        identity = self.stream.connection.identity
        return None if identity.key is None else identity.properties[identity.key]


def _same(message: Any) -> Any:
    return message


def _code_named(number: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == number)
