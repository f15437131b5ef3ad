"""`HarmostError` to gRPC status: the one place where the error tree meets the wire."""

from collections.abc import Iterator

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from harmost.core import errors

__all__ = ["DOMAIN", "STATUS_CODES", "error_of", "status_of"]

DOMAIN = "harmost.dev"

# Every class of the tree, subclasses included: a test holds this complete.
STATUS_CODES: dict[type[errors.HarmostError], grpc.StatusCode] = {
    errors.HarmostError: grpc.StatusCode.INTERNAL,
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidDocuments: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Killed: grpc.StatusCode.PERMISSION_DENIED,
    errors.PolicyDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.BudgetExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotPossibleNow: grpc.StatusCode.UNAVAILABLE,
    errors.ProviderFailed: grpc.StatusCode.UNAVAILABLE,
    errors.StepFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ServiceUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
}

VIOLATIONS_MAX = 50  # status details travel in a header list that clients bound at 8 KiB
VIOLATION_CHARS_MAX = 300
DETAILS_BYTES_MAX = 5_000


_WITH_RETRY = errors.RateLimited | errors.ServiceUnavailable | errors.ProviderFailed


def status_of(error: errors.HarmostError) -> grpc.Status:
    """The rich status of `error`: ErrorInfo always, BadRequest and RetryInfo where they apply."""
    details = [_packed(_error_info(error))]
    if isinstance(error, errors.InvalidInput) and error.violations:
        details.append(_packed(_bad_request(error)))
    if isinstance(error, _WITH_RETRY) and error.retry_after_s:
        details.append(_packed(_retry_info(error.retry_after_s)))
    status: grpc.Status = rpc_status.to_status(  # pyright: ignore[reportUnknownMemberType]
        status_pb2.Status(
            code=_code_of(error).value[0],
            message=error.message,
            details=details,
        )
    )
    return status


def _code_of(error: errors.HarmostError) -> grpc.StatusCode:
    # Other modules refine these classes; what they add means the same to a caller.
    return next(STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES)


def _error_info(error: errors.HarmostError) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=dict(error.details)
    )


def _bad_request(error: errors.InvalidInput) -> error_details_pb2.BadRequest:
    found = error_details_pb2.BadRequest()
    for violation in error.violations[:VIOLATIONS_MAX]:
        if found.ByteSize() > DETAILS_BYTES_MAX:
            break
        found.field_violations.add(
            field=violation.field[:VIOLATION_CHARS_MAX],
            description=violation.description[:VIOLATION_CHARS_MAX],
        )
    return found


def _retry_info(retry_after_s: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(round(retry_after_s * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo,
) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def error_of(error: grpc.aio.AioRpcError, *, service: str) -> errors.HarmostError:
    """What another service of the mesh answered, as the error that it raised there.

    Without ErrorInfo it did not answer at all: `ServiceUnavailable` or `DeadlineExceeded`.
    """
    info = _info_of(error)
    kind = _BY_REASON.get(info.reason) if info is not None else None
    if info is not None and kind is not None:
        rebuilt = kind.__new__(kind)
        errors.HarmostError.__init__(rebuilt, error.details() or "", details=dict(info.metadata))
        if isinstance(rebuilt, errors.InvalidInput):
            rebuilt.violations = ()
        if isinstance(rebuilt, errors.RateLimited):
            rebuilt.retry_after_s = _retry_after_s(error)
        return rebuilt
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.ServiceUnavailable(f"the {service} service did not answer in time")
    return errors.ServiceUnavailable(
        f"the {service} service does not answer: {error.code().name.lower()}: try again"
    )


_BY_REASON = {kind.reason: kind for kind in STATUS_CODES}


def _info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for detail in _details_of(error):
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """When it says to come again; after a second where it does not."""
    for detail in _details_of(error):
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds()) / 1e9
    return 1.0


def _details_of(error: grpc.aio.AioRpcError) -> Iterator[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            yield from status_pb2.Status.FromString(value).details
