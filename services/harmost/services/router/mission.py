"""One run of a profile, as a staircase: each step of the way is one method, in this order.

    classify   what stands in the caller's messages: data classes, sizes          core/privacy, core/tokens
    decide     facts to one decision: denied, or candidates with conditions       core/policy
    redact     what must not leave is replaced                                    core/privacy
    exchange   candidates one after the other, each an attempt                    attempt.py
    record     the close row is in the journal before the caller hears the end    core/audit

Admission comes before (service.py). A mission belongs to one snapshot from its first step to its last.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from harmost.core.audit.rows import (
    AttemptOutcome,
    AttemptSummary,
    MissionClosed,
    MissionOpened,
    MissionStatus,
    RecordSummary,
)
from harmost.core.chat import Call, Message
from harmost.core.errors import BudgetExhausted, HarmostError, PolicyDenied, ProviderFailed
from harmost.core.mission.steps import CompiledStep
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import candidate_facts, request_facts
from harmost.core.privacy.redact import redact
from harmost.core.privacy.scan import find
from harmost.core.resources.kinds import MissionProfileSpec
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.routing.choose import HOPS, chosen
from harmost.core.tokens.estimate import estimate, input_tokens_max
from harmost.core.usage import TokenUsage
from harmost.services.providers.endpoints import Endpoints
from harmost.services.router.attempt import Attempt, AttemptPlan, AttemptTools
from harmost.services.router.budget import BudgetPath
from harmost.services.router.events import (
    Delta,
    Finished,
    Hop,
    MissionEvent,
    Started,
    StepFinished,
    StepStarted,
)

__all__ = ["Mission", "MissionTools"]


@dataclass(frozen=True, slots=True)
class MissionTools:
    """What a mission works with: shared by all missions of a Router."""

    attempt: AttemptTools
    endpoints: Endpoints
    router_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step sends: messages, and what is known about them."""

    messages: tuple[Message, ...]
    data_classes: tuple[str, ...]
    input_bytes: int
    input_tokens: int


class Mission:
    """Iterate `events` to its end, or call `abandon`: one of them, once."""

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
        self._profile: MissionProfileSpec = snapshot.catalog.profiles[call.profile].spec
        self._started_at_ns = time.time_ns()
        self._clock_ns = time.monotonic_ns()
        self._first_token_ns = 0
        self._added_ns = 0
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._steps: list[str] = []
        self._attempts: list[Attempt] = []
        self._decision: Decision | None = None
        self._last = StepFinished(0, "")
        self.closed = False

    async def events(self) -> AsyncIterator[MissionEvent]:
        """Everything that happens, ending with `Finished`. Raises the `HarmostError` that ends it."""
        self._journal(self._opened())
        try:
            async for event in self._run():
                yield event
        except HarmostError as error:
            await self._close(_status_of(error), error.reason)
            error.details.setdefault("record_id", self.record_id)
            raise
        broke = self._last.finish_reason == "provider_broke"
        record = await self._close(
            "failed" if broke else "completed", ProviderFailed.reason if broke else ""
        )
        yield self._finished(record)

    async def abandon(self, outcome: AttemptOutcome) -> None:
        """The caller is gone or late: settle what was used so far and write the record."""
        if self.closed:
            return
        for attempt in self._attempts:
            if attempt.summary is None:
                attempt.cancel(outcome)
                await attempt.close()
        await self._close(
            "cancelled", "DEADLINE_EXCEEDED" if outcome == "deadline" else "CANCELLED"
        )

    async def _run(self) -> AsyncIterator[MissionEvent]:
        started = False
        for index, step in enumerate(self._snapshot.steps[self.call.profile]):
            if not step.runs(self._outputs):
                yield StepFinished(index, step.name, skipped=True)
                continue
            self._steps.append(step.name)
            turn = self._classify(step)
            decision = self._decide(step, turn)
            if not started:
                started = True
                yield Started(self.record_id, self.call.tenant, decision)
            turn = self._redact(turn, decision)
            async for event in self._exchange(index, step, turn):
                yield event
            if self._last.finish_reason == "provider_broke":
                return

    # --- classify ---------------------------------------------------------------------------------

    def _classify(self, step: CompiledStep) -> Turn:
        """What the step would send, and what stands in it. The profile's own text is not personal."""
        found = {span.data_class for message in self.call.messages for span in find(message.text)}
        system = self._system(step)
        messages = (
            (Message("system", system), *self.call.messages) if system else self.call.messages
        )
        return Turn(
            messages=messages,
            data_classes=tuple(sorted(found | set(self.call.claims.data_classes))),
            input_bytes=sum(len(message.text.encode()) for message in messages),
            input_tokens=sum(estimate(message.text) for message in messages),
        )

    def _system(self, step: CompiledStep) -> str:
        if not self._outputs:
            return step.system
        outputs = json.dumps(self._outputs, ensure_ascii=False, sort_keys=True)
        return f"{step.system}\n\nResults of earlier steps: {outputs}".lstrip()

    # --- decide -----------------------------------------------------------------------------------

    def _decide(self, step: CompiledStep, turn: Turn) -> Decision:
        """One decision for this step; raises `PolicyDenied`."""
        catalog = self._snapshot.catalog
        tenant = catalog.tenants.get(self.call.tenant)
        facts = request_facts(
            self.call,
            tenant=tenant.spec if tenant is not None else None,
            data_classes=turn.data_classes,
            input_tokens=turn.input_tokens,
            input_bytes=turn.input_bytes,
            output_tokens_max=self._output_tokens_max(step),
            tls=self._tls,
        )
        candidates = [self._candidate(name) for name in step.models]
        decision = self._snapshot.engine.decide(facts, candidates)
        decision = self._decision = msgspec.structs.replace(
            decision, data_classes=turn.data_classes
        )
        if decision.effect == "deny":
            raise _denied(decision)
        return decision

    def _candidate(self, name: str) -> Candidate:
        catalog = self._snapshot.catalog
        model = catalog.models[name].spec
        provider = catalog.providers[model.provider].spec
        price = self._snapshot.prices[name]
        return Candidate(name, candidate_facts(name, model, model.provider, provider, price))

    # --- redact -----------------------------------------------------------------------------------

    def _redact(self, turn: Turn, decision: Decision) -> Turn:
        """Replace what policy says must not leave; the decision then says how much that was."""
        if not decision.redactions:
            return turn
        spans: dict[str, int] = {}
        messages: list[Message] = []
        for message in turn.messages:
            text, replaced = redact(message.text, decision.redactions)
            messages.append(Message(message.role, text))
            for data_class, count in replaced.items():
                spans[data_class] = spans.get(data_class, 0) + count
        self._decision = msgspec.structs.replace(
            decision,
            redactions=tuple(
                msgspec.structs.replace(redaction, spans=spans.get(redaction.data_class, 0))
                for redaction in decision.redactions
            ),
        )
        return replace(turn, messages=tuple(messages))

    # --- exchange: choose → reserve → call → relay → settle, for each attempt -----------------------

    async def _exchange(
        self, index: int, step: CompiledStep, turn: Turn
    ) -> AsyncIterator[MissionEvent]:
        """Try candidates until one answers; raises when none does."""
        failed: list[Attempt] = []
        refused: BudgetExhausted | None = None
        for model in self._choose(step, turn)[: self._profile.attempts_max]:
            attempt = self._attempt(index, step, turn, model)
            try:
                await attempt.reserve()
            except BudgetExhausted as error:  # a cheaper candidate may still fit
                refused = error
                await attempt.not_admitted(error)
                continue
            except HarmostError as error:
                await attempt.not_admitted(error)
                raise
            yield self._begun(index, step, attempt, failed)
            async for event in self._relayed(index, attempt):
                yield event
            await attempt.close()
            error = attempt.relay.error
            if error is None or attempt.relay.deltas:
                yield self._ended(index, step, attempt)
                return
            failed.append(attempt)
            if error.kind not in HOPS:
                break
        raise self._none_left(failed, refused)

    def _choose(self, step: CompiledStep, turn: Turn) -> tuple[str, ...]:
        """Candidates in the order to try them; those left out join the decision's exclusions."""
        assert self._decision is not None
        catalog = self._snapshot.catalog
        kept, left_out = chosen(
            self._decision.candidates,
            models={name: catalog.models[name].spec for name in self._decision.candidates},
            prices=self._snapshot.prices,
            input_tokens=turn.input_tokens,
            output_tokens_max=self._output_tokens_max(step),
            usd_per_1k_tokens_max=self._snapshot.cost_ceilings.get(self.call.profile),
            profile=self.call.profile,
        )
        self._decision = msgspec.structs.replace(
            self._decision,
            candidates=kept,
            exclusions=self._decision.exclusions + left_out,
        )
        if not kept:
            raise PolicyDenied(
                f"no candidate of profile `{self.call.profile}` is left: "
                + "; ".join(f"`{out.model}`: {out.hit.message}" for out in left_out),
                details={"policy": f"profile {self.call.profile}", "rule": "choose"},
            )
        return kept

    def _attempt(self, index: int, step: CompiledStep, turn: Turn, model: str) -> Attempt:
        catalog, call, profile = self._snapshot.catalog, self.call, self._profile
        spec = catalog.models[model].spec
        stall_s = profile.hop.stall_ms / 1000 if "stall" in profile.hop.on else 0
        plan = AttemptPlan(
            attempt_id=f"{self.record_id}-{len(self._attempts)}",
            record_id=self.record_id,
            step_index=index,
            model=model,
            model_spec=spec,
            endpoint=self._tools.endpoints.get(spec.provider),
            price=self._snapshot.prices[model],
            path=BudgetPath(
                tenant=call.tenant,
                profile=call.profile,
                agent_id=call.agent_id,
                end_user_id=call.end_user_id,
            ),
            messages=turn.messages,
            generation=call.generation,
            input_tokens=turn.input_tokens,
            input_tokens_max=input_tokens_max(turn.messages),
            output_tokens_max=min(self._output_tokens_max(step), spec.output_tokens_max),
            stall_s=stall_s or None,
            fsync_first=profile.audit == "required",
        )
        attempt = Attempt(plan, self._tools.attempt)
        self._attempts.append(attempt)
        return attempt

    def _output_tokens_max(self, step: CompiledStep) -> int:
        asked = self.call.generation.output_tokens_max
        cap = self._decision.output_tokens_max if self._decision is not None else 0
        bounds = (asked, step.output_tokens_max, self._profile.output_tokens_max, cap)
        return min(bound for bound in bounds if bound)

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
            error=last.relay.error.message if last.relay.error is not None else "",
        )

    async def _relayed(self, index: int, attempt: Attempt) -> AsyncIterator[Delta]:
        async for texts in attempt.texts():
            if not self._first_token_ns:
                self._note_first_token()
            for text in texts:
                yield Delta(index, attempt.plan.attempt_id, text)

    def _ended(self, index: int, step: CompiledStep, attempt: Attempt) -> StepFinished:
        relay = attempt.relay
        output: Mapping[str, Any] | None = None
        if relay.error is None and step.output is not None:
            output = self._outputs[step.name] = step.output.parse(relay.text)
        self._last = StepFinished(
            index,
            step.name,
            model=attempt.plan.model,
            output=output,
            finish_reason=relay.finish_reason or "provider_broke",
        )
        return self._last

    def _none_left(
        self, failed: list[Attempt], refused: BudgetExhausted | None
    ) -> BudgetExhausted | ProviderFailed:
        if refused is not None and not failed:
            return refused
        tries = "; ".join(
            f"`{attempt.plan.model}`: {attempt.relay.error.message}"
            for attempt in failed
            if attempt.relay.error is not None
        )
        if refused is not None:
            tries += f"; no budget for another: {refused.message}"
        return ProviderFailed(f"no model answered: {tries}")

    # --- record -----------------------------------------------------------------------------------

    async def _close(self, status: MissionStatus, reason: str) -> RecordSummary:
        """Write the close row; from here on the mission survives a kill as what it was."""
        record = self._record(status, reason)
        self._journal(MissionClosed(record=record))
        await self._tools.attempt.journal.flush()
        self.closed = True
        return record

    def _record(self, status: MissionStatus, reason: str) -> RecordSummary:
        attempts = self._summaries()
        call, total_ns = self.call, time.monotonic_ns() - self._clock_ns
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
            first_token_ns=self._first_token_ns,
            added_ns=self._added_ns or max(total_ns - sum(a.total_ns for a in attempts), 0),
            router_id=self._tools.router_id,
            steps=tuple(self._steps),
        )

    def _summaries(self) -> tuple[AttemptSummary, ...]:
        return tuple(a.summary for a in self._attempts if a.summary is not None)

    def _note_first_token(self) -> None:
        self._first_token_ns = time.monotonic_ns() - self._clock_ns
        waited_ns = sum(attempt.first_token_ns for attempt in self._attempts[-1:])
        waited_ns += sum(summary.total_ns for summary in self._summaries())
        self._added_ns = max(self._first_token_ns - waited_ns, 1)

    def _finished(self, record: RecordSummary) -> Finished:
        warned = (
            [hit for hit in record.decision.hits if hit.mode == "warn"] if record.decision else []
        )
        warnings = [f"rule `{hit.policy}/{hit.rule}` warns: {hit.message}" for hit in warned]
        warnings += [warning for attempt in self._attempts for warning in attempt.warnings]
        sent = [a for a in self._attempts if a.summary and a.summary.outcome != "not_admitted"]
        return Finished(
            record=record,
            finish_reason=self._last.finish_reason or "stop",
            model=self._last.model,
            provider=sent[-1].plan.endpoint.name if sent else "",
            warnings=tuple(dict.fromkeys(warnings)),
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
        )

    def _journal(self, row: MissionOpened | MissionClosed) -> None:
        self._tools.attempt.journal.append(row)


def _status_of(error: HarmostError) -> MissionStatus:
    if isinstance(error, PolicyDenied):
        return "policy_denied"
    return "budget_denied" if isinstance(error, BudgetExhausted) else "failed"


def _denied(decision: Decision) -> PolicyDenied:
    hit = decision.denied_by
    assert hit is not None  # INVARIANT of Decision: set exactly when the effect is "deny"
    cites = f" ({', '.join(hit.citations)})" if hit.citations else ""
    why = f": {hit.message}" if hit.message else ""
    return PolicyDenied(
        f"policy `{hit.policy}` rule `{hit.rule}` denies this call{cites}{why}",
        details={
            "policy": hit.policy,
            "rule": hit.rule,
            "citations": ", ".join(hit.citations),
            "snapshot_generation": str(decision.snapshot_generation),
        },
    )
