"""Typed client of the Router: sync and async, an iterator of events.

    with Client() as client:
        for event in client.stream("hello", "What is a harmost?"):
            if isinstance(event, Delta):
                print(event.text, end="")

Errors are the tree in errors.py; what is retried is said in retry.py.
"""

from harmost.client.aio import AsyncChatStream, AsyncClient
from harmost.client.errors import (
    AlreadyExists,
    BudgetExhausted,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    HarmostError,
    InvalidDocuments,
    InvalidInput,
    Killed,
    NotFound,
    NotPossibleNow,
    PolicyDenied,
    ProviderFailed,
    RateLimited,
    ServiceUnavailable,
    StepFailed,
    Unauthenticated,
    Unreachable,
    Unsupported,
    UnsupportedField,
    Violation,
)
from harmost.client.events import (
    Attempt,
    ChatResult,
    Decision,
    Delta,
    Event,
    Exclusion,
    Finished,
    Hop,
    ModelInfo,
    ProfileInfo,
    Redaction,
    RuleHit,
    Started,
    StepFinished,
    StepStarted,
    TokenUsage,
    ToolCallDelta,
)
from harmost.client.request import Claims, Message, Options
from harmost.client.sync import ChatStream, Client
from harmost.client.transport import Tls

__all__ = [
    "AlreadyExists",
    "AsyncChatStream",
    "AsyncClient",
    "Attempt",
    "BudgetExhausted",
    "Cancelled",
    "ChatResult",
    "ChatStream",
    "Claims",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "Decision",
    "Delta",
    "Event",
    "Exclusion",
    "Finished",
    "Forbidden",
    "HarmostError",
    "Hop",
    "InvalidDocuments",
    "InvalidInput",
    "Killed",
    "Message",
    "ModelInfo",
    "NotFound",
    "NotPossibleNow",
    "Options",
    "PolicyDenied",
    "ProfileInfo",
    "ProviderFailed",
    "RateLimited",
    "Redaction",
    "RuleHit",
    "ServiceUnavailable",
    "Started",
    "StepFailed",
    "StepFinished",
    "StepStarted",
    "Tls",
    "TokenUsage",
    "ToolCallDelta",
    "Unauthenticated",
    "Unreachable",
    "Unsupported",
    "UnsupportedField",
    "Violation",
]
