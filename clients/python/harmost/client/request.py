"""What a caller says, and the proto of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, TypeVar

from harmost.router.v1 import router_pb2

__all__ = ["TIMEOUT_S", "Claims", "Message", "Messages", "Options", "chat_request", "timeout_of"]

TIMEOUT_S = 60.0

Role = Literal["system", "user", "assistant"]

ROLES: dict[str, router_pb2.MessageRole.ValueType] = {
    "system": router_pb2.MESSAGE_ROLE_SYSTEM,
    "user": router_pb2.MESSAGE_ROLE_USER,
    "assistant": router_pb2.MESSAGE_ROLE_ASSISTANT,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the caller states about the person or the purpose, where its `Tenant` grants it."""

    purpose: str = ""
    lawful_basis: str = ""
    subject_region: str = ""
    opt_outs: tuple[str, ...] = ()
    significant_decision: bool = False
    human_review: bool = False
    data_classes: tuple[str, ...] = ()


Messages = str | Message | Iterable[Message]


class Options(TypedDict, total=False):
    """What may be said beside profile and messages. What is left out is left to the profile.

    `timeout_s` is for the whole call, retries included; 60 unless told. Temperature and top_p are
    in thousandths, as everywhere in harmost.
    """

    tenant: str
    output_tokens_max: int
    temperature_permille: int
    top_p_permille: int
    stop: Iterable[str]
    seed: int
    claims: Claims
    agent_id: str
    end_user_id: str
    data_subject_id: str
    labels: Mapping[str, str]
    idempotency_key: str
    timeout_s: float


Request = TypeVar("Request", router_pb2.ChatRequest, router_pb2.StreamChatRequest)


def chat_request(
    kind: type[Request], profile: str, messages: Messages, options: Options
) -> Request:
    """The request of `kind`; a lone string is one user message. Bounds are the server's to check."""
    request = kind(
        profile=profile,
        messages=[_message(message) for message in _conversation(messages)],
        tenant=options.get("tenant", ""),
        generation=_generation(options),
        agent_id=options.get("agent_id", ""),
        end_user_id=options.get("end_user_id", ""),
        data_subject_id=options.get("data_subject_id", ""),
        labels=options.get("labels", {}),
        idempotency_key=options.get("idempotency_key", ""),
    )
    if "claims" in options:
        request.claims.CopyFrom(_claims(options["claims"]))
    return request


def timeout_of(options: Options) -> float:
    """Seconds for the whole call, > 0."""
    timeout_s = options.get("timeout_s", TIMEOUT_S)
    if not timeout_s > 0:
        raise ValueError(f"timeout_s must be above 0: {timeout_s}")
    return timeout_s


def _conversation(messages: Messages) -> Iterable[Message]:
    if isinstance(messages, str):
        return (Message("user", messages),)
    return (messages,) if isinstance(messages, Message) else messages


def _message(message: Message) -> router_pb2.Message:
    if message.role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}: `{message.role}`")
    return router_pb2.Message(role=ROLES[message.role], parts=[router_pb2.Part(text=message.text)])


def _generation(options: Options) -> router_pb2.Generation:
    return router_pb2.Generation(
        output_tokens_max=options.get("output_tokens_max", 0),
        temperature_permille=options.get("temperature_permille"),
        top_p_permille=options.get("top_p_permille"),
        stop=tuple(options.get("stop", ())),
        seed=options.get("seed"),
    )


def _claims(claims: Claims) -> router_pb2.Claims:
    return router_pb2.Claims(
        purpose=claims.purpose,
        lawful_basis=claims.lawful_basis,
        subject_region=claims.subject_region,
        opt_outs=claims.opt_outs,
        significant_decision=claims.significant_decision,
        human_review=claims.human_review,
        data_classes=claims.data_classes,
    )
