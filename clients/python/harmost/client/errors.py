"""What a call can fail with, as one tree; `error_of` makes it from a gRPC error.

    HarmostError
    ├── InvalidInput          the request breaks a stated bound; `violations` say which
    │   ├── InvalidDocuments  resources do not parse, type-check or resolve
    │   └── UnsupportedField  a field that the contract reserves and the server does not carry
    ├── Unauthenticated       no key, or one that is not known
    ├── Forbidden             the key may not do this
    ├── NotFound              what is named does not exist
    ├── Conflict              another change or call came first
    ├── AlreadyExists         this was done before; `metadata` names the record
    ├── PolicyDenied          a rule says no; `metadata` names policy, rule and citations
    ├── Killed                a kill switch is on, or the key was removed while it ran
    ├── BudgetExhausted       a ceiling would be passed; `metadata` names it and when it resets
    ├── RateLimited           too much at once; try again after `retry_after_s`
    ├── NotPossibleNow        a precondition of the deployment is not met
    ├── ProviderFailed        every candidate model failed
    ├── StepFailed            a step's output does not fit its schema
    ├── ServiceUnavailable    a service of the mesh does not answer
    │   └── Unreachable       nothing answers at the address at all
    ├── DeadlineExceeded      the time given to the call is over
    ├── Cancelled             the call was cancelled
    └── Unsupported           the contract knows it, the server does not carry it

An error of a reason that this version does not know is a plain `HarmostError` with that reason.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

__all__ = [
    "AlreadyExists",
    "BudgetExhausted",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "Forbidden",
    "HarmostError",
    "InvalidDocuments",
    "InvalidInput",
    "Killed",
    "NotFound",
    "NotPossibleNow",
    "PolicyDenied",
    "ProviderFailed",
    "RateLimited",
    "ServiceUnavailable",
    "StepFailed",
    "Unauthenticated",
    "Unreachable",
    "Unsupported",
    "UnsupportedField",
    "Violation",
    "error_of",
]

DETAILS_KEY = "grpc-status-details-bin"


class Violation(NamedTuple):
    """One field that is wrong: a proto path, or "file:line:column" in a document."""

    field: str
    description: str


class HarmostError(Exception):
    """Base of the tree: stable `reason`, `message` for people, `metadata` for programs.

    `retry_after_s` is None unless the server said when to try again.
    """

    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: dict[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_after_s = retry_after_s


class InvalidInput(HarmostError):
    """The request breaks a stated bound or cannot mean anything."""

    default_reason = "INVALID_INPUT"


class InvalidDocuments(InvalidInput):
    """Resources do not parse, type-check or resolve."""

    default_reason = "INVALID_DOCUMENTS"


class UnsupportedField(InvalidInput):
    """A field that the contract reserves and the server does not carry yet."""

    default_reason = "UNSUPPORTED_FIELD"


class Unauthenticated(HarmostError):
    """No key, or one that is not known, is revoked or has expired."""

    default_reason = "UNAUTHENTICATED"


class Forbidden(HarmostError):
    """The key is good but may not do this."""

    default_reason = "FORBIDDEN"


class NotFound(HarmostError):
    """What is named does not exist, or the key may not know of it."""

    default_reason = "NOT_FOUND"


class Conflict(HarmostError):
    """Another change or call came first."""

    default_reason = "CONFLICT"


class AlreadyExists(HarmostError):
    """This was done before."""

    default_reason = "ALREADY_EXISTS"


class PolicyDenied(HarmostError):
    """A rule says no."""

    default_reason = "POLICY_DENIED"


class Killed(HarmostError):
    """A kill switch stops it; `metadata` names `kind`, `name` and `tenant` of what is stopped."""

    default_reason = "KILLED"


class BudgetExhausted(HarmostError):
    """A ceiling would be passed."""

    default_reason = "BUDGET_EXHAUSTED"


class RateLimited(HarmostError):
    """Too much at once; `retry_after_s` says when to try again."""

    default_reason = "RATE_LIMITED"


class NotPossibleNow(HarmostError):
    """A precondition of the deployment is not met."""

    default_reason = "NOT_POSSIBLE_NOW"


class ProviderFailed(HarmostError):
    """Every candidate model failed."""

    default_reason = "PROVIDER_FAILED"


class StepFailed(HarmostError):
    """A step's output does not fit its schema."""

    default_reason = "STEP_FAILED"


class ServiceUnavailable(HarmostError):
    """A service of the mesh does not answer."""

    default_reason = "SERVICE_UNAVAILABLE"


class Unreachable(ServiceUnavailable):
    """Nothing answers at the address, or the connection broke."""

    default_reason = "UNREACHABLE"


class DeadlineExceeded(HarmostError):
    """The time given to the call is over."""

    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(HarmostError):
    """The call was cancelled, by this program or on the way."""

    default_reason = "CANCELLED"


class Unsupported(HarmostError):
    """The contract knows it, the server does not carry it."""

    default_reason = "UNSUPPORTED"


BY_REASON: dict[str, type[HarmostError]] = {
    kind.default_reason: kind
    for kind in (
        InvalidInput,
        InvalidDocuments,
        UnsupportedField,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        AlreadyExists,
        Killed,
        PolicyDenied,
        BudgetExhausted,
        RateLimited,
        NotPossibleNow,
        ProviderFailed,
        StepFailed,
        ServiceUnavailable,
        DeadlineExceeded,
        Unsupported,
    )
}

# For a status without ErrorInfo: from a proxy, from gRPC itself, or from another server.
BY_CODE: dict[grpc.StatusCode, type[HarmostError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unsupported,
}


class Failed(Protocol):
    """The part that `grpc.Call` and `grpc.aio.AioRpcError` have in common."""

    def code(self) -> grpc.StatusCode:
        """The status."""
        ...

    def details(self) -> str | None:
        """The message."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came with the status."""
        ...


def error_of(error: grpc.RpcError) -> HarmostError:
    """The typed error of a failed call: by `ErrorInfo.reason`, else by status code."""
    failed = cast(Failed, error)
    code = failed.code()
    info, violations, retry_after_s = _details(failed.trailing_metadata())
    kind = BY_REASON.get(info.reason) if info.reason else BY_CODE.get(code)
    return (kind or HarmostError)(
        failed.details() or code.name.lower().replace("_", " "),
        reason=info.reason,
        code=code,
        metadata=dict(info.metadata),
        violations=violations,
        retry_after_s=retry_after_s,
    )


def _details(
    metadata: Iterable[tuple[str, str | bytes]] | None,
) -> tuple[error_details_pb2.ErrorInfo, tuple[Violation, ...], float | None]:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in _status(metadata).details:
        detail.Unpack(info)
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_after_s = max(retry.retry_delay.ToNanoseconds() / 1e9, 0.0)
    violations = tuple(Violation(found.field, found.description) for found in bad.field_violations)
    return info, violations, retry_after_s


def _status(metadata: Iterable[tuple[str, str | bytes]] | None) -> status_pb2.Status:
    for key, value in metadata or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break  # details are a help, not a promise: the code still says what happened
    return status_pb2.Status()
