"""One try of one model: reserve → call → relay → settle, each a method. Which model: mission.py.

reserve   the worst case is held at every budget level, durably, before anything is sent
texts     the provider is called and its answer relayed, counted and cut
close     what it used is found out, priced, written to the journal and settled
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptOpened,
    AttemptOutcome,
    AttemptSummary,
    Resolution,
)
from harmost.core.budget.price import (
    ModelPrice,
    cost_usd_nanos,
    output_tokens_within,
    worst_case_usd_nanos,
)
from harmost.core.chat import Generation, Message
from harmost.core.errors import BudgetExhausted, HarmostError
from harmost.core.providers.codec import Event, ProviderError, ProviderErrorKind, UpstreamRequest
from harmost.core.relay.relay import Relay, RelayLimits
from harmost.core.resources.kinds import ModelSpec
from harmost.core.tokens.estimate import estimate
from harmost.core.usage import TokenUsage
from harmost.services.journal.journal import Journal
from harmost.services.providers.endpoints import Endpoint
from harmost.services.providers.upstream import Answer, Billed, Upstream
from harmost.services.router.budget import Amount, BudgetClient, BudgetPath, Owed

__all__ = ["Attempt", "AttemptPlan", "AttemptTools"]

# An answer shorter than this is not worth a hold that fits no more.
OUTPUT_TOKENS_MIN = 16

_OUTCOMES: dict[ProviderErrorKind, AttemptOutcome] = {
    "connect_failed": "connect_failed",
    "throttled": "throttled",
    "quota_exhausted": "throttled",
    "overloaded": "provider_error",
    "provider_error": "provider_error",
    "rejected": "rejected",
    "auth": "rejected",
    "context_too_long": "rejected",
    "content_filtered": "rejected",
    "broken": "broken",
    "stalled": "stalled",
}

# An upstream ends each answer with an event that says how; this stands for one that does not.
_BROKEN = (ProviderError(kind="broken", message="the answer ended without saying how"),)

# The provider said no before it did anything: vendors do not bill these.
_UNBILLED: frozenset[AttemptOutcome] = frozenset({"throttled", "provider_error", "rejected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """What is tried. Token bounds: `input_tokens_max` is proven, `input_tokens` estimated."""

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
    input_tokens: int
    input_tokens_max: int
    output_tokens_max: int
    stall_s: float | None
    fsync_first: bool


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """What an attempt works with: shared by all attempts of a Router."""

    journal: Journal
    budget: BudgetClient
    upstream: Upstream


class Attempt:
    """`reserve`, then `texts` to its end or `cancel`, then `close`: each once."""

    def __init__(self, plan: AttemptPlan, tools: AttemptTools) -> None:
        self.plan = plan
        self._tools = tools
        self._held = Amount(None, 0)
        self.relay = Relay(RelayLimits(output_tokens_max=plan.output_tokens_max))
        self.warnings: tuple[str, ...] = ()
        self.started_ns = time.time_ns()
        self._clock_ns = time.monotonic_ns()
        self.first_token_ns = 0
        self._cancelled: AttemptOutcome | None = None
        self._sent = False
        self._ended_ns = 0
        self.summary: AttemptSummary | None = None

    async def reserve(self) -> None:
        """Hold the worst case, or as much of it as fits and is worth having.

        Raises `BudgetExhausted` or `ServiceUnavailable`; then nothing is held.
        """
        plan = self.plan
        worst_case = self._worst_case(plan.output_tokens_max)
        self._tools.journal.append(_opened(plan, worst_case, self.started_ns))
        held = await self._tools.budget.reserve(
            plan.attempt_id,
            plan.path,
            plan.model,
            worst_case,
            self._worst_case(min(plan.output_tokens_max, OUTPUT_TOKENS_MIN)),
        )
        self._held, self.warnings = held.amount, held.warnings
        output_tokens_max = self._output_tokens_within(held.amount)
        self.relay = Relay(
            RelayLimits(
                output_tokens_max=output_tokens_max,
                shortened=output_tokens_max < plan.output_tokens_max,
            )
        )
        self.output_tokens_max = output_tokens_max

    async def texts(self) -> AsyncIterator[list[str]]:
        """Call the provider; yield pieces of the answer as they come. Failures end up in `relay`."""
        journal, plan = self._tools.journal, self.plan
        await (journal.sync() if plan.fsync_first else journal.flush())
        self._clock_ns, self._sent = time.monotonic_ns(), True
        stream = self._tools.upstream.stream(
            plan.endpoint, self._request(), attempt_id=plan.attempt_id
        )
        async with stream as answer:
            while not self.relay.done:
                texts = self.relay.feed(await self._next(answer))
                if texts:
                    if not self.first_token_ns:
                        self.first_token_ns = time.monotonic_ns() - self._clock_ns
                    yield texts
        self._ended_ns = time.monotonic_ns()

    async def _next(self, answer: Answer) -> Sequence[Event]:
        stall_s = self.plan.stall_s
        if self.first_token_ns or stall_s is None:
            return await anext(answer, _BROKEN)
        try:
            async with asyncio.timeout(stall_s):
                return await anext(answer, _BROKEN)
        except TimeoutError:
            message = f"no token within {stall_s * 1000:.0f} ms, the profile's `stall_ms`"
            return (ProviderError(kind="stalled", message=message),)

    def cancel(self, outcome: AttemptOutcome) -> None:
        """Note that the caller is gone or late. Closing `texts` closes the connection."""
        if not self.relay.done:
            self._cancelled = outcome

    @property
    def outcome(self) -> AttemptOutcome:
        """How it ended."""
        if self._cancelled is not None:
            return self._cancelled
        if self.relay.error is not None:
            return _OUTCOMES[self.relay.error.kind]
        return "budget_cut" if self.relay.cut else "completed"

    async def close(self) -> AttemptSummary:
        """Find out what was used, price it, journal it, settle it. Never raises for a provider."""
        usage = await self._usage()
        amount = None if usage is None else self._amount(usage)
        usage = usage or TokenUsage()
        summary = self.summary = self._summary(usage, amount)
        self._tools.journal.append(
            AttemptClosed(
                record_id=self.plan.record_id,
                attempt=summary,
                resolution="void" if amount is None else "settle",
            )
        )
        await self._tools.budget.pay(Owed(self.plan.attempt_id, amount, usage))
        return summary

    async def not_admitted(self, error: HarmostError) -> AttemptSummary:
        """Close an attempt that `reserve` refused: nothing was sent.

        A refusal of the budget holds nothing; any other error may have lost its answer: void it.
        """
        resolution: Resolution = "none" if isinstance(error, BudgetExhausted) else "void"
        summary = self._summary(TokenUsage(), None)
        summary = self.summary = msgspec.structs.replace(
            summary, outcome="not_admitted", error=error.message
        )
        self._tools.journal.append(
            AttemptClosed(record_id=self.plan.record_id, attempt=summary, resolution=resolution)
        )
        if resolution == "void":
            await self._tools.budget.pay(Owed(self.plan.attempt_id, None, None))
        return summary

    async def _usage(self) -> TokenUsage | None:
        """What the provider bills; None where it bills nothing."""
        said = self.relay.usage
        if self.outcome == "completed" and said is not None and said.exact:
            return said
        if not self._sent or (self.outcome in _UNBILLED and not self.relay.deltas):
            return None
        billed = await self._tools.upstream.usage_lookup(self.plan.endpoint, self.plan.attempt_id)
        if isinstance(billed, Billed):
            return billed.usage
        if billed is None or self.outcome == "connect_failed":
            return None
        return self._estimate()

    def _estimate(self) -> TokenUsage:
        said = self.relay.usage
        output_tokens = max(self.relay.deltas, estimate(self.relay.text))
        if said is not None:  # a usage that came before the break still tells the input
            return TokenUsage(
                input_tokens=said.input_tokens,
                cached_input_tokens=said.cached_input_tokens,
                cache_write_5m_input_tokens=said.cache_write_5m_input_tokens,
                cache_write_1h_input_tokens=said.cache_write_1h_input_tokens,
                output_tokens=max(said.output_tokens, output_tokens),
                reasoning_output_tokens=said.reasoning_output_tokens,
                exact=False,
            )
        return TokenUsage(
            input_tokens=self.plan.input_tokens, output_tokens=output_tokens, exact=False
        )

    def _amount(self, usage: TokenUsage) -> Amount:
        price = self.plan.price
        return Amount(None if price is None else cost_usd_nanos(price, usage), usage.total_tokens)

    def _worst_case(self, output_tokens_max: int) -> Amount:
        plan = self.plan
        tokens = plan.input_tokens_max + output_tokens_max
        if plan.price is None:
            return Amount(None, tokens)
        usd_nanos = worst_case_usd_nanos(
            plan.price,
            input_tokens_max=plan.input_tokens_max,
            output_tokens_max=output_tokens_max,
        )
        return Amount(usd_nanos, tokens)

    def _output_tokens_within(self, held: Amount) -> int:
        plan = self.plan
        tokens = min(plan.output_tokens_max, held.tokens - plan.input_tokens_max)
        if plan.price is not None and held.usd_nanos is not None:
            affordable = output_tokens_within(
                plan.price, usd_nanos=held.usd_nanos, input_tokens_max=plan.input_tokens_max
            )
            tokens = min(tokens, affordable)
        return max(tokens, 1)

    def _request(self) -> UpstreamRequest:
        return UpstreamRequest(
            vendor_model_id=self.plan.model_spec.vendor_model_id,
            messages=self.plan.messages,
            output_tokens_max=self.output_tokens_max,
            generation=self.plan.generation,
        )

    def _summary(self, usage: TokenUsage, amount: Amount | None) -> AttemptSummary:
        plan, error = self.plan, self.relay.error
        return AttemptSummary(
            attempt_id=plan.attempt_id,
            model=plan.model,
            provider=plan.endpoint.name,
            outcome=self.outcome,
            error=error.message if error is not None else "",
            usage=usage,
            cost_usd_nanos=(amount.usd_nanos or 0) if amount is not None else 0,
            started_at_ns=self.started_ns,
            first_token_ns=self.first_token_ns,
            total_ns=(self._ended_ns or time.monotonic_ns()) - self._clock_ns,
            step_index=plan.step_index,
            held_usd_nanos=self._held.usd_nanos or 0,
            provider_response_id=self.relay.response_id,
        )


def _opened(plan: AttemptPlan, held: Amount, started_ns: int) -> AttemptOpened:
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
        held_usd_nanos=held.usd_nanos or 0,
        held_tokens=held.tokens,
        input_tokens_max=plan.input_tokens_max,
        price=plan.price,
        started_at_ns=started_ns,
    )
