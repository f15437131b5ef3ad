"""One try of one model: reserve → call → relay → settle. Which model: mission.py.

reserve   the worst case is held at every budget level before anything is sent, out of leases
relay     the provider is called; each piece of its answer is counted, cut and passed on (`on_data`)
close     what it used is found out, priced, written to the journal and settled

A coroutine waits for each of these, and for no token: bytes that the upstream reads become bytes of
the caller's stream in one callback. A caller that does not read pauses its own provider only.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptOutcome,
    AttemptSummary,
)
from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import (
    cost_usd_nanos,
    output_tokens_within,
    worst_case_usd_nanos,
)
from harmost.core.budget.progressive import first_piece
from harmost.core.errors import HarmostError
from harmost.core.providers.codec import ProviderError, ProviderErrorKind
from harmost.core.providers.hidden import discreet
from harmost.core.providers.limits import rate_limits
from harmost.core.relay.exchange import AttemptExchange
from harmost.core.relay.gathered import GatheredExchange
from harmost.core.routing.health import Health, Place
from harmost.core.tokens.calibration import Calibration
from harmost.core.usage import TokenUsage
from harmost.services.journal.journal import Journal
from harmost.services.router.attempt_plan import AttemptPlan, embedding, http_request, opened
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.estimates import Estimates
from harmost.services.router.growth import PACE, Growth
from harmost.services.router.lease_convert import Told
from harmost.services.router.listeners import Listener
from harmost.services.router.tokenizer import Tokenizer
from harmost.services.upstream.upstream import Billed, Upstream, UpstreamCall

__all__ = ["Attempt", "AttemptPlan", "AttemptTools"]

log = logging.getLogger(__name__)

_UNRELAYED = ProviderError(kind="broken", message="it could not be relayed")

# An answer shorter than this is not worth a hold that fits no more.
OUTPUT_TOKENS_MIN = 16

_OUTCOMES: dict[ProviderErrorKind, AttemptOutcome] = {
    "connect_failed": "connect_failed",
    "throttled": "throttled",
    "quota_exhausted": "throttled",
    "overloaded": "provider_error",
    "timeout": "provider_error",
    "provider_error": "provider_error",
    "rejected": "rejected",
    "auth": "rejected",
    "not_found": "rejected",
    "context_too_long": "rejected",
    "content_filtered": "rejected",
    "broken": "broken",
    "stalled": "stalled",
}

# The provider said no before it did anything: vendors do not bill these.
_UNBILLED: frozenset[AttemptOutcome] = frozenset({"throttled", "provider_error", "rejected"})


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """What an attempt works with: shared by all attempts of a Router."""

    journal: Journal
    budget: BudgetClient
    upstream: Upstream
    calibration: Calibration = field(default_factory=Calibration)
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    health: Health = field(default_factory=Health)


class Attempt:
    """`reserve`, then `relay`, then `close`: each once. It is the sink of its own upstream call."""

    def __init__(self, plan: AttemptPlan, tools: AttemptTools) -> None:
        self.plan = plan
        self._tools = tools
        self._held: Held | None = None
        self._growth: Growth | None = None
        self.output_tokens_max = plan.output_tokens_max
        self.exchange = self._exchange(first_sequence=0, keep_text=False)
        self.warnings: tuple[str, ...] = ()
        self.started_ns = time.time_ns()
        self._clock_ns = time.monotonic_ns()
        self.first_token_at_ns = 0  # on the monotonic clock
        self._estimates = Estimates(
            tools.calibration, tools.tokenizer, plan.path.profile, plan.model, plan.shape
        )
        self._cancelled: AttemptOutcome | None = None
        self._call: UpstreamCall | None = None
        self._grant = plan.endpoint.credential.grant
        self._ended_ns = 0
        self.summary: AttemptSummary | None = None

    async def reserve(self) -> None:
        """Hold the worst case, or as much of it as fits and is worth having; or its first piece.

        Raises `BudgetExhausted`, `RateLimited` or `ServiceUnavailable`; then nothing is held.
        """
        plan = self.plan
        if plan.input_bound.unbounded:
            self._tools.budget.check_bound(plan.path, plan.model, plan.input_bound, plan.purse)
        most, least = plan.output_tokens_max, OUTPUT_TOKENS_MIN
        grows = plan.progressive and first_piece(PACE, most) < most
        if grows:
            most, least = first_piece(PACE, most), least + PACE.slack
        held = await self._tools.budget.reserve(
            plan.attempt_id,
            plan.path,
            plan.model,
            self._worst_case(most),
            self._worst_case(min(most, least)),
            plan.purse,
        )
        self._held, self.warnings = held, held.warnings
        try:
            self._tools.journal.append(opened(plan, held, self.started_ns))
        except HarmostError:
            self._settle(None, None)
            raise
        covered = self._output_tokens_within(held.amount)
        if grows:
            self._growth = self._growing(held, covered)
        else:
            self.output_tokens_max = covered

    async def relay(self, listener: Listener, *, keep_text: bool) -> None:
        """Call the provider and pass its answer on to its end; failures end up in `exchange`.

        Cancelled, it stops the provider in the same turn of the loop.
        """
        journal, plan = self._tools.journal, self.plan
        await (journal.sync() if plan.fsync_first else journal.flush())
        loop = asyncio.get_running_loop()
        self.exchange = self._exchange(first_sequence=listener.sequence, keep_text=keep_text)
        self._pass_on = listener.relay
        self._ended: asyncio.Future[None] = loop.create_future()
        self._clock_ns = time.monotonic_ns()
        self._grant = plan.endpoint.credential.grant
        self._call = call = self._tools.upstream.open(
            plan.endpoint,
            http_request(plan, output_tokens_max=self.output_tokens_max),
            attempt_id=plan.attempt_id,
            sink=self,
        )
        listener.on_room(call.resume)
        listener.on_gone(call.cancel)
        stall = loop.call_later(plan.stall_s, self._stalled) if plan.stall_s is not None else None
        try:
            await self._ended
        finally:
            if stall is not None:
                stall.cancel()
            self._stop(call, listener)

    def _stop(self, call: UpstreamCall, listener: Listener) -> None:
        self._ended_ns = time.monotonic_ns()
        exchange = self.exchange
        listener.on_room(None)
        listener.on_gone(None)
        listener.sequence = exchange.next_sequence
        if exchange.finish_reason is not None and not exchange.cut:
            call.leave()
        else:
            call.cancel()

    # --- The upstream's sink: called by the loop as bytes come --------------------------------------

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """A good answer begins; its headers may say that it was the last for a while."""
        place = Place.of(self.plan.model_spec)
        self._tools.health.answered(place, rate_limits(headers), now_s=time.monotonic())

    def on_data(self, data: bytes) -> None:
        """The path of a token: count and cut it, pass it on, hold its provider back if need be."""
        exchange = self.exchange
        try:
            frames = exchange.receive(data)
            if frames is not None:
                self.first_token_at_ns = self.first_token_at_ns or time.monotonic_ns()
                if not self._pass_on(frames) and self._call is not None:
                    self._pause(self._call)
        except Exception:  # the root of a callback: without an end the caller waits for ever
            log.exception("an answer could not be relayed")
            exchange.fail(_UNRELAYED)
        if exchange.done:
            self._end()

    def _pause(self, call: UpstreamCall) -> None:
        # What a provider makes while it is not read is not counted here: all of it must be held.
        if self._growth is None or self._growth.whole():
            call.pause()
        else:
            self.exchange.stop()

    def on_end(self) -> None:
        """The body is over: whole, or broken off."""
        try:
            frames = self.exchange.finish()
            if frames is not None:
                self._pass_on(frames)
        except Exception:  # as in `on_data`
            log.exception("an answer could not be relayed")
            self.exchange.fail(_UNRELAYED)
        self._end()

    def on_error(self, error: ProviderError) -> None:
        """There is no answer, or no more of it."""
        place = Place.of(self.plan.model_spec)
        self._tools.health.refused(place, error, now_s=time.monotonic())
        self.exchange.fail(error)
        self._end()

    def _stalled(self) -> None:
        if self.first_token_at_ns or self.plan.stall_s is None:
            return
        stall_ms = self.plan.stall_s * 1000
        what = "token" if self.plan.embeds is None else "answer"
        message = f"no {what} within {stall_ms:.0f} ms, the profile's `stall_ms`"
        self.on_error(ProviderError(kind="stalled", message=message))

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # --- After the answer ---------------------------------------------------------------------------

    def cancel(self, outcome: AttemptOutcome) -> None:
        """Note that the caller is gone or late."""
        if not self.exchange.done:
            self._cancelled = outcome

    @property
    def first_token_ns(self) -> int:
        """From the call to its first token; 0: none came."""
        return self.first_token_at_ns and self.first_token_at_ns - self._clock_ns

    @property
    def error(self) -> ProviderError | None:
        """Why the provider failed, without what it repeats of its credentials, even inside a stream."""
        secrets = self.plan.endpoint.credential.grant.secrets + self._grant.secrets
        return self.exchange.error and discreet(self.exchange.error, secrets)

    @property
    def outcome(self) -> AttemptOutcome:
        """How it ended."""
        if self._cancelled is not None:
            return self._cancelled
        if self.exchange.error is not None:
            return _OUTCOMES[self.exchange.error.kind]
        return "budget_cut" if self.exchange.cut else "completed"

    async def close(self) -> AttemptSummary:
        """Find out what was used, price it, journal it, settle it. Never raises for a provider."""
        usage = await self._usage()
        if usage is not None and usage is self.exchange.usage:
            self._learn(usage)
        amount = None if usage is None else self._amount(usage)
        summary = self.summary = self._summary(usage or TokenUsage(), amount)
        self._tools.journal.append(
            AttemptClosed(
                record_id=self.plan.record_id,
                attempt=summary,
                resolution="void" if amount is None else "settle",
            )
        )
        self._settle(amount, usage)
        return summary

    def _learn(self, said: TokenUsage) -> None:
        bound = self.plan.input_bound
        self._estimates.learn(
            said,
            text_bytes=self.exchange.text_bytes - self.exchange.reasoning_bytes,
            text_alone=self.plan.words_alone and not (bound.tool_calls_max or bound.unbounded),
        )

    def not_admitted(self, why: str) -> AttemptSummary:
        """Close an attempt that `reserve` refused or never answered: nothing was sent, nothing is held."""
        summary = self._summary(TokenUsage(), None)
        summary = self.summary = msgspec.structs.replace(summary, outcome="not_admitted", error=why)
        self._tools.journal.append(
            AttemptClosed(record_id=self.plan.record_id, attempt=summary, resolution="none")
        )
        return summary

    def _settle(self, amount: Amount | None, usage: TokenUsage | None) -> None:
        held, self._held, self._growth = self._holding, None, None
        if held is None:  # INVARIANT: an attempt settles once
            raise RuntimeError(f"attempt `{self.plan.attempt_id}` holds nothing")
        plan = self.plan
        told = Told(plan.path, plan.model, self.started_ns, plan.price_version)
        self._tools.budget.settle(plan.attempt_id, held, told, amount=amount, usage=usage)

    @property
    def holds(self) -> bool:
        """Whether anything is held for it."""
        return self._holding is not None

    @property
    def _holding(self) -> Held | None:
        return self._growth.held if self._growth is not None else self._held

    async def _usage(self) -> TokenUsage | None:
        """What the provider bills; None where it bills nothing."""
        said = self.exchange.usage
        if self.outcome == "completed" and said is not None and self._credible(said):
            return self._with_tools(said)
        if self._call is None or (self.outcome in _UNBILLED and not self.exchange.deltas):
            return None
        billed = await self._tools.upstream.usage_lookup(self.plan.endpoint, self.plan.attempt_id)
        if isinstance(billed, Billed):
            return billed.usage
        if billed is None or self.outcome == "connect_failed":
            return None
        return self._with_tools(await self._estimate())

    def _with_tools(self, usage: TokenUsage) -> TokenUsage:
        """Who does not tell how often it ran its tools has run them as often as was held for."""
        calls = self.plan.input_bound.tool_calls_max
        if usage.tool_calls or not any(calls.values()):
            return usage
        return msgspec.structs.replace(usage, tool_calls=dict(calls), exact=False)

    def _credible(self, said: TokenUsage) -> bool:
        """Its last word, and not that what was delivered cost no tokens."""
        return said.exact and (said.output_tokens > 0 or not self.exchange.deltas)

    async def _estimate(self) -> TokenUsage:
        exchange = self.exchange
        output_tokens = self._estimates.output_tokens(
            deltas=exchange.deltas,
            text_bytes=exchange.text_bytes,
            output_tokens_max=self.output_tokens_max,
        )
        return await self._estimates.usage(
            exchange.usage,
            reference=self.plan.model_spec.tokenizer,
            messages=self.plan.messages,
            output_tokens=output_tokens,
        )

    def _amount(self, usage: TokenUsage) -> Amount:
        price = self.plan.price
        if price is None:
            return Amount(0, usage.total_tokens, price_unknown=True)
        if any(tool not in price.tool_usd_picos for tool in usage.tool_calls):
            # It ran a tool that has no price here: all that was held is taken to be spent.
            known = cost_usd_nanos(price, msgspec.structs.replace(usage, tool_calls={}))
            held = self._holding.amount.usd_nanos if self._holding is not None else 0
            return Amount(max(known, held), usage.total_tokens)
        return Amount(cost_usd_nanos(price, usage), usage.total_tokens)

    def _worst_case(self, output_tokens_max: int) -> Amount:
        plan = self.plan
        tokens = plan.input_bound.tokens_max + output_tokens_max
        if plan.price is None:
            return Amount(0, tokens, price_unknown=True)
        usd_nanos = worst_case_usd_nanos(
            plan.price,
            input_tokens_max=plan.input_bound.tokens_max,
            output_tokens_max=output_tokens_max,
            tool_calls_max=plan.input_bound.tool_calls_max,
        )
        return Amount(usd_nanos, tokens)

    def _output_tokens_within(self, held: Amount) -> int:
        plan = self.plan
        tokens = min(plan.output_tokens_max, held.tokens - plan.input_bound.tokens_max)
        if plan.price is not None:
            affordable = output_tokens_within(
                plan.price,
                usd_nanos=held.usd_nanos,
                input_tokens_max=plan.input_bound.tokens_max,
                tool_calls_max=plan.input_bound.tool_calls_max,
            )
            tokens = min(tokens, affordable)
        return max(tokens, 1) if plan.output_tokens_max else 0  # vectors are no tokens

    def _exchange(
        self, *, first_sequence: int, keep_text: bool
    ) -> AttemptExchange | GatheredExchange:
        plan = self.plan
        if plan.embeds is not None:
            return GatheredExchange(*embedding(plan), first_sequence=first_sequence)
        return AttemptExchange(
            plan.endpoint.spec.codec,
            output_tokens_max=self.output_tokens_max,
            shortened=self.output_tokens_max < plan.output_tokens_max,
            step_index=plan.step_index,
            attempt_id=plan.attempt_id,
            first_sequence=first_sequence,
            keep_text=keep_text,
            grow=self._growth.reach if self._growth is not None else None,
        )

    def _growing(self, held: Held, covered: int) -> Growth:
        plan, tools = self.plan, self._tools
        return Growth(
            plan.attempt_id,
            held,
            budget=tools.budget,
            journal=tools.journal,
            price=plan.price,
            input_tokens_max=plan.input_bound.tokens_max,
            covered=covered,
            output_tokens_max=plan.output_tokens_max,
        )

    def _summary(self, usage: TokenUsage, amount: Amount | None) -> AttemptSummary:
        plan, error, held = self.plan, self.error, self._holding
        return AttemptSummary(
            attempt_id=plan.attempt_id,
            model=plan.model,
            provider=plan.endpoint.name,
            outcome=self.outcome,
            error=error.message if error is not None else "",
            error_kind=error.kind if error is not None else "",
            usage=usage,
            cost_usd_nanos=amount.usd_nanos if amount is not None else 0,
            started_at_ns=self.started_ns,
            first_token_ns=self.first_token_ns,
            total_ns=(self._ended_ns or time.monotonic_ns()) - self._clock_ns,
            step_index=plan.step_index,
            held_usd_nanos=held.amount.usd_nanos if held is not None else 0,
            provider_response_id=self.exchange.response_id,
            price_version=plan.price_version,
            vendor_model_id=plan.model_spec.vendor_model_id,
            finish_reason=self.exchange.finish_reason or "",
            output_tokens_max=self.output_tokens_max,
            region=plan.model_spec.region or plan.endpoint.spec.region,
            estimated_input_tokens=self._estimates.input_tokens,
        )
