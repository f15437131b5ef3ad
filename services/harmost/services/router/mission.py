"""One run of a profile, as a staircase. Admission comes before it (service.py).

    classify → decide → redact → choose   what a step sends, and to whom it may go      turn.py
    reserve → call → relay → settle       candidates one after the other                attempt.py
    record                                in the journal before the caller hears the end

A mission belongs to one snapshot from its first step to its last, providers' addresses included.
A kill switch ends it from outside: what was used is settled and recorded, then its caller is told.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harmost.core.audit.rows import (
    AttemptOutcome,
    AttemptSummary,
    MissionOpened,
    MissionRecorded,
    MissionStatus,
    RecordSummary,
)
from harmost.core.budget.input_bound import priced
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.price import usd_nanos
from harmost.core.budget.progressive import bills_unseen
from harmost.core.chat import Call, Part
from harmost.core.errors import (
    BudgetExhausted,
    HarmostError,
    Killed,
    PolicyDenied,
    ProviderFailed,
    RateLimited,
)
from harmost.core.mission.steps import CompiledStep
from harmost.core.policy.decision import Decision
from harmost.core.policy.expiry import LatestTime
from harmost.core.relay.gathered import GatheredExchange
from harmost.core.resources.kinds import MissionProfileSpec
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.routing.choose import HOPS
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import RECORD
from harmost.services.providers.endpoints import Endpoints
from harmost.services.router.attempt import Attempt, AttemptTools
from harmost.services.router.attempt_plan import AttemptPlan
from harmost.services.router.events import Finished, Hop, Started, StepFinished, StepStarted
from harmost.services.router.failures import none_left
from harmost.services.router.listeners import Listener
from harmost.services.router.purse import Purse
from harmost.services.router.stats import Stats
from harmost.services.router.told import warnings_of
from harmost.services.router.turn import (
    Turn,
    asked,
    choose,
    classify,
    decide,
    denied,
    merged,
    output_tokens_max,
    redact,
    throttled,
)

__all__ = ["Mission", "MissionTools"]


@dataclass(frozen=True, slots=True)
class MissionTools:
    """What a mission works with: shared by all missions of a Router."""

    attempt: AttemptTools
    endpoints: Endpoints
    router_id: str
    stats: Stats
    latest: LatestTime = field(default_factory=LatestTime)


class Mission:
    """`run` it to its end; where that is cancelled, `abandon` it."""

    def __init__(
        self,
        call: Call,
        *,
        record_id: str,
        snapshot: CompiledSnapshot,
        tools: MissionTools,
        tls: bool,
    ) -> None:
        self.call = call
        self.record_id = record_id
        self._snapshot = snapshot
        self._tools = tools
        self._tls = tls
        self._endpoints = tools.endpoints.as_now()
        self._profile: MissionProfileSpec = snapshot.catalog.profiles[call.profile].spec
        self._purse = _purse(self._profile)
        self._started_at_ns = time.time_ns()
        self._clock_ns = time.monotonic_ns()
        self._path = BudgetPath(
            tenant=call.tenant,
            profile=call.profile,
            agent_id=call.agent_id,
            end_user_id=call.end_user_id,
        )
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._steps: list[str] = []
        self._attempts: list[Attempt] = []
        self._decision: Decision | None = None  # of all steps so far, as the record tells it
        self._vectors: list[bytes] = []
        self._decided_ns = 0  # from admission to the first decision
        self._last = StepFinished(0, "")
        self.open = False  # from its first row in the journal to its last
        self._task: asyncio.Task[Any] | None = None
        self._killed: Killed | None = None

    async def run(self, listener: Listener) -> Finished:
        """Run every step; `listener` hears all, at last `Finished`. Raises the error that ends it."""
        self._task = asyncio.current_task()
        self._journal(self._opened())
        self.open = True
        self._tools.stats.call_begun()
        try:
            await self._run(listener)
        except HarmostError as error:
            await self._close(_status_of(error), error.reason)
            error.details.setdefault("record_id", self.record_id)
            raise
        except asyncio.CancelledError:
            # INVARIANT: `kill` cancels once; any further request to cancel is the caller's.
            if self._killed is None or self._task is None or self._task.uncancel():
                raise
            await self._settle_rest("cancelled")
            await self._close("killed", Killed.reason)
            raise self._end_killed(self._killed) from None
        finally:
            self._task = None  # a task that was cancelled keeps its error, and that this mission
        broke = self._last.finish_reason == "provider_broke"
        record = await self._close(
            "failed" if broke else "completed", ProviderFailed.reason if broke else ""
        )
        finished = self._finished(record)
        listener.tell(finished)
        return finished

    @property
    def parts(self) -> tuple[Part, ...]:
        """The answer: of the last step that gave one. Kept only for a listener that wants it."""
        answered = (a for a in reversed(self._attempts) if a.exchange.deltas)
        attempt = next(answered, None)
        return attempt.exchange.parts if attempt is not None else ()

    @property
    def vectors(self) -> tuple[bytes, ...]:
        """One for each text of a call that asked for vectors, packed."""
        exchange = self._attempts[-1].exchange
        return exchange.vectors if isinstance(exchange, GatheredExchange) else ()

    def kill(self, error: Killed) -> None:
        """Have `run` end with `error`, its provider stopped in this turn of the loop."""
        if self.open and self._task is not None and self._killed is None:
            self._killed = error
            self._task.cancel()

    def _end_killed(self, killed: Killed) -> Killed:
        self._killed = None  # what it raises must not be kept by what raises it
        killed.details["record_id"] = self.record_id
        return killed

    async def abandon(self, outcome: AttemptOutcome) -> None:
        """The caller is gone or late: settle what was used so far and write the record."""
        if not self.open:
            return
        await self._settle_rest(outcome)
        if self._killed is not None:
            await self._close("killed", Killed.reason)
            return
        await self._close(
            "cancelled", "DEADLINE_EXCEEDED" if outcome == "deadline" else "CANCELLED"
        )

    async def _settle_rest(self, outcome: AttemptOutcome) -> None:
        """Settle the attempt that was cut off, if one was."""
        for attempt in self._attempts:
            if attempt.summary is not None:
                continue
            if attempt.holds:
                attempt.cancel(outcome)
                await attempt.close()
            else:
                attempt.not_admitted("the call was over before anything was held for it")

    async def _run(self, listener: Listener) -> None:
        started = False
        for index, step in enumerate(self._snapshot.steps[self.call.profile]):
            if not step.runs(self._outputs):
                listener.tell(StepFinished(index, step.name, skipped=True))
                continue
            self._steps.append(step.name)
            turn = classify(self.call, step, self._outputs)
            before = self._decision
            now_s = self._now_s()
            decision, vector = decide(
                self.call, step, turn, self._snapshot, tls=self._tls, now_s=now_s
            )
            if not self._decided_ns:
                self._decided_ns = max(time.monotonic_ns() - self._clock_ns, 1)
            if vector:  # one that is too large is not recorded
                self._vectors.append(vector)
            self._decision = merged(before, decision)
            if decision.effect == "deny":
                raise denied(decision)
            turn, decision = redact(turn, decision)
            advice = self._tools.attempt.budget.advice(self._path)
            if advice.throttle is not None and not started:  # what is begun is not cut in two
                raise throttled(advice.throttle)
            decision = choose(
                self.call,
                step,
                turn,
                decision,
                self._snapshot,
                now_s=now_s,
                calibration=self._tools.attempt.calibration,
                cheaper=advice.cheaper,
                resting=self._tools.attempt.health.resting(
                    decision.candidates, self._snapshot.catalog.models, now_s=time.monotonic()
                ),
            )
            self._decision = merged(before, decision)
            if not started:
                started = True
                listener.tell(Started(self.record_id, self.call.tenant, decision))
            await self._exchange(index, step, turn, decision, listener)
            if self._last.finish_reason == "provider_broke":
                return

    def _now_s(self) -> int:
        return self._tools.latest.at(int(time.time()))

    # --- exchange: choose → reserve → call → relay → settle, for each attempt -----------------------

    async def _exchange(
        self,
        index: int,
        step: CompiledStep,
        turn: Turn,
        decision: Decision,
        listener: Listener,
    ) -> None:
        """Try candidates until one answers; raises when none does."""
        failed: list[Attempt] = []
        refused: BudgetExhausted | RateLimited | None = None
        for model in decision.candidates[: self._profile.attempts_max]:
            attempt = self._attempt(
                index, step, turn, decision, model, streamed=not listener.keeps_text
            )
            try:
                await attempt.reserve()
            except (BudgetExhausted, RateLimited) as error:  # a cheaper candidate may still fit
                refused = _anew(error)
                attempt.not_admitted(error.message)
                continue
            except HarmostError as error:
                attempt.not_admitted(error.message)
                raise
            listener.tell(self._begun(index, step, attempt, failed))
            try:
                await attempt.relay(
                    listener, keep_text=listener.keeps_text or step.output is not None
                )
            except HarmostError:  # the journal refused: nothing was sent, and nothing stays held
                await attempt.close()
                raise
            await attempt.close()
            failure = attempt.exchange.error
            if failure is None or attempt.exchange.deltas:
                listener.tell(self._ended(index, step, attempt))
                return
            failed.append(attempt)
            if failure.kind not in HOPS:
                break
        try:
            raise none_left(failed, refused)
        finally:
            refused = None  # this frame is in its traceback

    def _attempt(
        self,
        index: int,
        step: CompiledStep,
        turn: Turn,
        decision: Decision,
        model: str,
        *,
        streamed: bool,
    ) -> Attempt:
        catalog, call, profile = self._snapshot.catalog, self.call, self._profile
        spec = catalog.models[model].spec
        generation, left_out = asked(turn, step, model, self._snapshot)
        bound = turn.input_bound(spec)
        stall_s = profile.hop.stall_ms / 1000 if "stall" in profile.hop.on else 0
        plan = AttemptPlan(
            attempt_id=f"{self.record_id}-{len(self._attempts)}",
            record_id=self.record_id,
            step_index=index,
            model=model,
            model_spec=spec,
            endpoint=self._endpoints.get(spec.provider, spec.region),
            price=priced(self._snapshot.prices.at(self._now_s())[model], bound),
            path=self._path,
            messages=turn.messages,
            generation=generation,
            words_alone=turn.words_alone,
            embeds=turn.embeds,
            dropped=left_out,
            shape=turn.shape,
            input_bound=bound,
            output_tokens_max=min(
                output_tokens_max(call, step, self._snapshot, decision), spec.output_tokens_max
            ),
            stall_s=stall_s or None,
            fsync_first=profile.audit == "required",
            purse=self._purse,
            progressive=streamed
            and profile.cost.hold == "progressive"
            and step.output is None  # half of one is of no use
            and not bills_unseen(spec),
        )
        attempt = Attempt(plan, self._tools.attempt)
        self._attempts.append(attempt)
        self._tools.stats.attempt_begun(attempt)
        return attempt

    def _begun(
        self, index: int, step: CompiledStep, attempt: Attempt, failed: list[Attempt]
    ) -> StepStarted | Hop:
        plan = attempt.plan
        if not failed:
            return StepStarted(index, step.name, plan.model, plan.attempt_id)
        last = failed[-1]
        return Hop(
            step_index=index,
            from_attempt_id=last.plan.attempt_id,
            from_model=last.plan.model,
            to_attempt_id=plan.attempt_id,
            to_model=plan.model,
            cause=last.outcome,
            error=last.error.message if last.error is not None else "",
        )

    def _ended(self, index: int, step: CompiledStep, attempt: Attempt) -> StepFinished:
        exchange = attempt.exchange
        output: Mapping[str, Any] | None = None
        if exchange.error is None and step.output is not None:
            output = self._outputs[step.name] = step.output.parse(exchange.text)
        self._last = StepFinished(
            index,
            step.name,
            model=attempt.plan.model,
            output=output,
            finish_reason=exchange.finish_reason or "provider_broke",
        )
        return self._last

    # --- record -----------------------------------------------------------------------------------

    async def _close(self, status: MissionStatus, reason: str) -> RecordSummary:
        """Write the close row; from here on the mission survives a kill as what it was."""
        if self._purse is not None:
            self._purse.empty()
        record = self._record(status, reason)
        self._journal(MissionRecorded(record_id=record.record_id, record=RECORD.write(record)))
        self.open = False
        for attempt in self._attempts:
            self._tools.stats.attempt_ended(attempt)
        self._tools.stats.call_ended(record)
        await self._tools.attempt.journal.flush()
        return record

    def _record(self, status: MissionStatus, reason: str) -> RecordSummary:
        attempts = self._summaries()
        call, total_ns = self.call, time.monotonic_ns() - self._clock_ns
        first_token_ns, waited_ns = self._until_first_token()
        return RecordSummary(
            record_id=self.record_id,
            tenant=call.tenant,
            profile=call.profile,
            principal=call.principal,
            agent_id=call.agent_id,
            end_user_id=call.end_user_id,
            labels=dict(call.labels),
            status=status,
            reason=reason,
            decision=self._decision,
            attempts=attempts,
            usage=sum((attempt.usage for attempt in attempts), TokenUsage()),
            cost_usd_nanos=sum(attempt.cost_usd_nanos for attempt in attempts),
            started_at_ns=self._started_at_ns,
            total_ns=total_ns,
            first_token_ns=first_token_ns,
            added_ns=max((first_token_ns or total_ns) - waited_ns, 1),
            router_id=self._tools.router_id,
            steps=tuple(self._steps),
            fact_vectors=tuple(self._vectors),
            traceparent=call.traceparent,
            tracestate=call.tracestate,
            streamed=call.streamed,
            embeds=call.embeds is not None,
            audit_required=self._profile.audit == "required",
            snapshot_digest=self._snapshot.digest,
            decided_ns=self._decided_ns,
        )

    def _summaries(self) -> tuple[AttemptSummary, ...]:
        return tuple(a.summary for a in self._attempts if a.summary is not None)

    def _until_first_token(self) -> tuple[int, int]:
        """When it came (0: never), and for how long of that time providers were waited for."""
        waited_ns = 0
        for attempt in self._attempts:
            if attempt.first_token_at_ns:
                return (
                    attempt.first_token_at_ns - self._clock_ns,
                    waited_ns + attempt.first_token_ns,
                )
            waited_ns += attempt.summary.total_ns if attempt.summary is not None else 0
        return 0, waited_ns

    def _finished(self, record: RecordSummary) -> Finished:
        sent = [a for a in self._attempts if a.summary and a.summary.outcome != "not_admitted"]
        models = self._snapshot.catalog.models
        return Finished(
            record=record,
            finish_reason=self._last.finish_reason or "stop",
            model=self._last.model,
            provider=sent[-1].plan.endpoint.name if sent else "",
            warnings=warnings_of(record.decision, self._attempts, sent, models, self._now_s()),
            price_unknown=any(attempt.plan.price is None for attempt in sent),
        )

    def _opened(self) -> MissionOpened:
        call = self.call
        return MissionOpened(
            record_id=self.record_id,
            tenant=call.tenant,
            profile=call.profile,
            principal=call.principal,
            agent_id=call.agent_id,
            end_user_id=call.end_user_id,
            labels=dict(call.labels),
            started_at_ns=self._started_at_ns,
            router_id=self._tools.router_id,
            traceparent=call.traceparent,
            tracestate=call.tracestate,
            streamed=call.streamed,
            embeds=call.embeds is not None,
            audit_required=self._profile.audit == "required",
            snapshot_digest=self._snapshot.digest,
        )

    def _journal(self, row: MissionOpened | MissionRecorded) -> None:
        self._tools.attempt.journal.append(row)


def _purse(profile: MissionProfileSpec) -> Purse | None:
    """What the mission may cost; None: its profile says nothing."""
    cost = profile.cost
    if not cost.usd_max:
        return None
    return Purse(usd_nanos(cost.usd_max), at_once=cost.reserve == "mission")


def _anew(error: BudgetExhausted | RateLimited) -> BudgetExhausted | RateLimited:
    """The same, not raised yet: one that was holds its frames, and these would hold it."""
    if isinstance(error, RateLimited):
        return RateLimited(error.message, retry_after_s=error.retry_after_s, details=error.details)
    return BudgetExhausted(error.message, details=error.details)


def _status_of(error: HarmostError) -> MissionStatus:
    if isinstance(error, PolicyDenied):
        return "policy_denied"
    # Nothing inside a mission is rate limited but by a budget's pace.
    return "budget_denied" if isinstance(error, BudgetExhausted | RateLimited) else "failed"
