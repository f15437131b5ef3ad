"""A call as the mesh thinks of it, free of any wire format: who asks, for what, with which claims."""

from collections.abc import Mapping
from typing import Literal

import msgspec

__all__ = ["Call", "Claims", "FinishReason", "Generation", "Message", "MessageRole"]

MessageRole = Literal["system", "user", "assistant"]

FinishReason = Literal[
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "budget_exhausted",
    "provider_broke",
]


class Message(msgspec.Struct, frozen=True):
    """One message: text parts are joined. Other kinds of parts are refused at admission."""

    role: MessageRole
    text: str


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is made. 0 or None leaves it to the profile, then to the provider."""

    output_tokens_max: int = 0
    temperature_permille: int | None = None
    top_p_permille: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller states about the person or the purpose, as far as its tenant grants it."""

    purpose: str = ""
    lawful_basis: str = ""
    subject_region: str = ""
    opt_outs: tuple[str, ...] = ()
    significant_decision: bool = False
    human_review: bool = False
    data_classes: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One admitted call of a mission profile. `tenant` is the path that is charged.

    `traceparent` and `tracestate` are its caller's (otel/context.py); `streamed`: the answer is.
    """

    profile: str
    tenant: str
    principal: str
    messages: tuple[Message, ...]
    generation: Generation = Generation()
    claims: Claims = Claims()
    agent_id: str = ""
    end_user_id: str = ""
    data_subject_id: str = ""
    labels: Mapping[str, str] = {}
    idempotency_key: str = ""
    traceparent: str = ""
    tracestate: str = ""
    streamed: bool = False
