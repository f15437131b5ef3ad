"""The one interceptor: key, role, deadline and bounds before the servicer, errors after it.

Wrapping is done once for each method, not for each call. Health and reflection need no key.
"""

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message

from harmost.core.errors import (
    DeadlineExceeded,
    Forbidden,
    HarmostError,
    InvalidInput,
    Unauthenticated,
)
from harmost.options.v1 import options_pb2
from harmost.services.interceptors.bounds import check
from harmost.services.interceptors.errors import status_of
from harmost.services.interceptors.principal import PRINCIPAL, Principal

__all__ = ["Authenticate", "Gate"]

log = logging.getLogger(__name__)

# Open by convention of the ecosystem: load balancers probe one, developers explore with the other.
OPEN_SERVICES = ("grpc.health.v1.", "grpc.reflection.")

# Of the mesh's own services: nobody can be given it.
INTERNAL_ROLES = frozenset({"service"})

Authenticate = Callable[[str], Principal | None]
if TYPE_CHECKING:  # generic in the type stubs, not in grpcio itself
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Context, Handler = grpc.aio.ServicerContext, grpc.RpcMethodHandler


class Malformed:
    """Stands for a request that could not be decoded, until the call can be refused in order."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Gate(grpc.aio.ServerInterceptor):
    """Lets a call through to its servicer. `authenticate` maps a key to its principal, or None."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._wrapped: dict[str, Handler] = {}  # bounded: one entry a method that exists

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            # None: the method does not exist; the server answers UNIMPLEMENTED.
            if handler is None or method.startswith(tuple(f"/{name}" for name in OPEN_SERVICES)):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        roles = _roles(method)
        decode = _lenient(handler.request_deserializer)
        encode = handler.response_serializer

        def admit(context: Context) -> None:
            PRINCIPAL.set(self._principal(context, roles, method))
            # None without a deadline, whatever the stubs say.
            remaining_s = cast("float | None", context.time_remaining())
            if remaining_s is not None and remaining_s <= 0:
                raise DeadlineExceeded("the deadline has passed before the call began")

        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                _unary(admit, handler.unary_unary), decode, _bytes_or(encode)
            )
        if handler.unary_stream is not None and not inspect.isasyncgenfunction(
            handler.unary_stream
        ):
            # The servicer writes to its call by itself.
            return grpc.unary_stream_rpc_method_handler(
                _unary(admit, handler.unary_stream), decode, _bytes_or(encode)
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(admit, handler.unary_stream, _checked), decode, encode
            )
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                _streaming(admit, handler.stream_stream, _checked_each), decode, encode
            )
        raise TypeError(f"{method}: client streaming is not used by harmost's contracts")

    def _principal(self, context: Context, roles: frozenset[str], method: str) -> Principal:
        principal = self._authenticate(_bearer(context))
        if principal is None:
            raise Unauthenticated(
                "the key is not known, is revoked or has expired: "
                "make one with `harmost key create`"
            )
        if not principal.roles & roles:
            raise _forbidden(method, roles, principal)
        return principal


def _unary(admit: Callable[[Context], None], behavior: Any) -> Any:
    async def unary(request: Any, context: Context) -> Any:
        try:
            admit(context)
            handling = behavior(_checked(request), context)
            del request  # not to be kept for as long as an answer runs
            return await handling
        except HarmostError as error:
            await context.abort_with_status(status_of(error))
        except (grpc.aio.AbortError, grpc.RpcError):
            raise
        except Exception as error:  # noqa: BLE001 - the task root
            await _abort_unexpected(context, error)

    return unary


def _streaming(
    admit: Callable[[Context], None], behavior: Any, checked: Callable[[Any], Any]
) -> Any:
    async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            admit(context)
            async for message in behavior(checked(request), context):
                yield message
        except HarmostError as error:
            await context.abort_with_status(status_of(error))
        except (grpc.aio.AbortError, grpc.RpcError):
            raise
        except Exception as error:  # noqa: BLE001 - the task root
            await _abort_unexpected(context, error)

    return streaming


async def _abort_unexpected(context: Context, error: Exception) -> NoReturn:
    # The task root: what no one foresaw is logged whole and told to the caller without detail.
    log.error("unexpected error while serving a call", exc_info=error)
    await context.abort_with_status(
        status_of(HarmostError("internal error: the server's log says more"))
    )


def _checked(request: Any) -> Message:
    if isinstance(request, Malformed):
        raise InvalidInput(f"the request cannot be decoded: {request.error}")
    check(request)
    return request  # type: ignore[no-any-return]


async def _checked_each(requests: AsyncIterator[Any]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _checked(request)


def _lenient(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data) if decode is not None else data
        except DecodeError as error:
            return Malformed(error)

    return decode_or_mark


def _bytes_or(encode: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """A servicer answers with messages, or with bytes of them."""

    def encode_unless_bytes(message: Any) -> bytes:
        return message if isinstance(message, bytes) or encode is None else encode(message)

    return encode_unless_bytes


def _bearer(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            scheme, _, token = text.partition(" ")
            if scheme.lower() == "bearer" and token:
                return token.strip()
    raise Unauthenticated("no key: send the metadata `authorization: Bearer <key>`")


def _forbidden(method: str, roles: frozenset[str], principal: Principal) -> Forbidden:
    named = ", ".join(sorted(roles - INTERNAL_ROLES))
    if not named:
        return Forbidden(
            f"`{method[1:]}` is for services of this deployment alone: no key opens it"
        )
    return Forbidden(
        f"`{method[1:]}` needs one of the roles {named}: "
        f"`{principal.name}` has {', '.join(sorted(principal.roles)) or 'none'}: "
        "use the key of a principal that has one"
    )


def _roles(method: str) -> frozenset[str]:
    service, _, name = method[1:].rpartition("/")
    descriptor = descriptor_pool.Default().FindServiceByName(service)
    access = descriptor.methods_by_name[name].GetOptions().Extensions[options_pb2.access]
    return frozenset(
        options_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in access.any_of
    )
