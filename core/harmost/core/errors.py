"""Every error that harmost tells a caller, as one tree.

    HarmostError
    ├── InvalidInput          the request breaks a stated bound or cannot mean anything
    │   ├── UnsupportedField  the contract has the field, this version does not carry it
    │   └── InvalidDocuments  resources do not parse, type-check or resolve
    ├── Unauthenticated       no key, or one that is not known
    ├── Forbidden             the key may not do this
    ├── NotFound              what is named does not exist
    ├── Conflict              another change or call came first; try again on what is there now
    ├── AlreadyExists         this was done before
    ├── PolicyDenied          a rule says no
    ├── Killed                a kill switch is on, or the key was removed while it ran
    ├── BudgetExhausted       a ceiling would be passed
    ├── RateLimited           too much at once; try again after `retry_after_s`
    ├── NotPossibleNow        a precondition of the deployment is not met
    ├── ProviderFailed        every candidate model failed
    ├── StepFailed            a step's output does not fit its schema
    ├── ServiceUnavailable    a service of the mesh, or its disk, does not answer
    ├── DeadlineExceeded      the caller's time is over
    └── Unsupported           the contract knows it, this version does not carry it

One interceptor (services/interceptors/errors.py) turns these into a gRPC status with `ErrorInfo`.
Messages are lower case, name the value in backticks, and end with what to do.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

__all__ = [
    "AlreadyExists",
    "BudgetExhausted",
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
    "Unsupported",
    "UnsupportedField",
    "Violation",
]


class Violation(NamedTuple):
    """One field that is wrong: `field` is a proto path, or "file:line:column" in a document."""

    field: str
    description: str


class HarmostError(Exception):
    """Base of the tree. `reason` is stable, UPPER_SNAKE; `details` are short strings for programs."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = dict(details or {})


class InvalidInput(HarmostError):
    """The request breaks a stated bound or cannot mean anything."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, *, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.violations = tuple(violations)


class UnsupportedField(InvalidInput):
    """The contract has the field, this version does not carry it: refused, never dropped."""

    reason = "UNSUPPORTED_FIELD"


class InvalidDocuments(InvalidInput):
    """Resources do not parse, type-check or resolve; each violation says where and what to do."""

    reason = "INVALID_DOCUMENTS"


class Unauthenticated(HarmostError):
    """No key, or one that is not known, is revoked or has expired."""

    reason = "UNAUTHENTICATED"


class Forbidden(HarmostError):
    """The key is good but may not do this."""

    reason = "FORBIDDEN"


class NotFound(HarmostError):
    """What is named does not exist, or the key may not know of it."""

    reason = "NOT_FOUND"


class Conflict(HarmostError):
    """Another change or call came first."""

    reason = "CONFLICT"


class AlreadyExists(HarmostError):
    """This was done before; `details` name what there is."""

    reason = "ALREADY_EXISTS"


class PolicyDenied(HarmostError):
    """A rule says no; `details` hold `policy`, `rule` and `citations`."""

    reason = "POLICY_DENIED"


class Killed(HarmostError):
    """A kill switch stops it; `details` hold `kind`, `name` and `tenant` of what is stopped."""

    reason = "KILLED"


class BudgetExhausted(HarmostError):
    """A ceiling would be passed; `details` hold `budget`, `node`, `window` and `resets_at`."""

    reason = "BUDGET_EXHAUSTED"


class RateLimited(HarmostError):
    """Too much at once."""

    reason = "RATE_LIMITED"

    def __init__(
        self, message: str, *, retry_after_s: float, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class NotPossibleNow(HarmostError):
    """A precondition of the deployment is not met, such as no snapshot yet."""

    reason = "NOT_POSSIBLE_NOW"


class ProviderFailed(HarmostError):
    """Every candidate model failed, or one in the middle of its answer.

    `details` hold `error_kinds`: how each failed, in the order they were tried, joined by commas.
    `retry_after_s`: the shortest wait that a provider asked for; 0: none did.
    """

    reason = "PROVIDER_FAILED"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class StepFailed(HarmostError):
    """A step's output does not fit its schema, so the mission cannot go on."""

    reason = "STEP_FAILED"


class ServiceUnavailable(HarmostError):
    """A service of the mesh, or its disk, does not answer; worth another try after `retry_after_s`.

    0: nobody knows when.
    """

    reason = "SERVICE_UNAVAILABLE"
    retry_after_s = 0.0

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(HarmostError):
    """The caller's time is over."""

    reason = "DEADLINE_EXCEEDED"


class Unsupported(HarmostError):
    """The contract knows it, this version does not carry it yet."""

    reason = "UNSUPPORTED"
