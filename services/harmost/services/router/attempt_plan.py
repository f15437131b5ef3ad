"""What one attempt is to be, before anything is held or sent for it: a value, and what follows from it."""

import msgspec

from harmost.core.audit.rows import AttemptOpened
from harmost.core.budget.input_bound import InputBound
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.price import ModelPrice
from harmost.core.chat import Embeds, Generation, Message
from harmost.core.providers.codec import HttpRequest, UpstreamRequest
from harmost.core.providers.embed import EmbedCodec, EmbedRequest
from harmost.core.providers.embed_registry import embed_codec_of
from harmost.core.resources.kinds import ModelSpec
from harmost.core.tokens.measure import Shape
from harmost.services.providers.endpoints import Endpoint
from harmost.services.router.budget import Held
from harmost.services.router.purse import Purse

__all__ = ["AttemptPlan", "embedding", "http_request", "opened"]


class AttemptPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried. `input_bound` is proven; `shape` is what the input is estimated by."""

    attempt_id: str
    record_id: str
    step_index: int
    model: str
    model_spec: ModelSpec
    endpoint: Endpoint
    price: ModelPrice | None
    path: BudgetPath
    messages: tuple[Message, ...]
    generation: Generation
    shape: Shape
    input_bound: InputBound
    output_tokens_max: int
    stall_s: float | None
    fsync_first: bool
    words_alone: bool = True  # no media, tools or schema
    dropped: tuple[str, ...] = ()  # wishes of `generation` that its provider does not take
    purse: Purse | None = None  # of its mission, for all attempts together
    embeds: Embeds | None = None  # `messages` become vectors; no output tokens are asked for
    progressive: bool = False  # it is billed by what is visible, and held for as it comes

    @property
    def price_version(self) -> str:
        """Which price it was admitted with; "": its price is not known."""
        return self.price.version if self.price is not None else ""


def http_request(plan: AttemptPlan, *, output_tokens_max: int) -> HttpRequest:
    """What is sent, with as many output tokens as are held."""
    if plan.embeds is not None:
        codec, request = embedding(plan)
        return codec.request(request)
    return plan.endpoint.codec.request(
        UpstreamRequest(
            vendor_model_id=plan.model_spec.vendor_model_id,
            messages=plan.messages,
            output_tokens_max=output_tokens_max,
            generation=plan.generation,
            service_tier=plan.model_spec.service_tier,
        )
    )


def embedding(plan: AttemptPlan) -> tuple[EmbedCodec, EmbedRequest]:
    """How vectors are asked for, of a plan that has `embeds`."""
    codec = embed_codec_of(plan.endpoint.spec)
    # INVARIANT: candidates whose provider offers none were left out (core/routing/fit.py).
    assert codec is not None
    assert plan.embeds is not None
    texts = tuple(message.text for message in plan.messages)
    return codec, EmbedRequest(
        vendor_model_id=plan.model_spec.vendor_model_id, texts=texts, embeds=plan.embeds
    )


def opened(plan: AttemptPlan, held: Held, started_ns: int) -> AttemptOpened:
    """The row that is written before anything is sent."""
    return AttemptOpened(
        record_id=plan.record_id,
        attempt_id=plan.attempt_id,
        step_index=plan.step_index,
        model=plan.model,
        provider=plan.endpoint.name,
        vendor_model_id=plan.model_spec.vendor_model_id,
        tenant=plan.path.tenant,
        profile=plan.path.profile,
        agent_id=plan.path.agent_id,
        end_user_id=plan.path.end_user_id,
        held_usd_nanos=held.amount.usd_nanos,
        held_tokens=held.amount.tokens,
        input_tokens_max=plan.input_bound.tokens_max,
        price=plan.price,
        epoch=held.epoch,
        counters=held.counters,
        started_at_ns=started_ns,
        region=plan.model_spec.region,
    )
