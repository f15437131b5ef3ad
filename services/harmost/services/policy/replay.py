"""`Replay`: recorded fact vectors, read from Telemetry page by page, decided again by other documents.

Nothing is published. One runs at a time; its caller reads at its own pace, and may leave.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

import msgspec

from harmost.common.v1 import decision_pb2
from harmost.core.errors import Forbidden, RateLimited
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.policy.engine import Candidate, read_engine
from harmost.core.policy.facts import candidate_facts
from harmost.core.policy.replay import Flip, Recorded, Replay, ReplayChange
from harmost.core.policy.vector import NOT_RECORDED, Outcome
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import visible
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.decision import decision_to_proto
from harmost.services.convert.times import time_to_proto
from harmost.services.interceptors.principal import Principal
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["ReadVectors", "Replays"]

# Asks Telemetry for vectors; what it raises are errors of the tree.
ReadVectors = Callable[
    [telemetry_pb2.ReadFactVectorsRequest],
    AsyncGenerator[telemetry_pb2.ReadFactVectorsResponse],
]

FLIPS_MAX = 1_000  # of one answer, unless it asks for another number; stated in the contract
GROUPS_MAX = 100  # likewise
RETRY_AFTER_S = 10.0
_CHANGES: "Mapping[ReplayChange, policy_pb2.ReplayChange.ValueType]" = {
    "allow_to_deny": policy_pb2.REPLAY_CHANGE_ALLOW_TO_DENY,
    "deny_to_allow": policy_pb2.REPLAY_CHANGE_DENY_TO_ALLOW,
    "candidates": policy_pb2.REPLAY_CHANGE_CANDIDATES,
    "redactions": policy_pb2.REPLAY_CHANGE_REDACTIONS,
    "caps": policy_pb2.REPLAY_CHANGE_CAPS,
}


class Replays:
    """Runs them, one at a time."""

    def __init__(self, read: ReadVectors) -> None:
        self._read = read
        self._busy = False

    async def run(
        self,
        request: policy_pb2.ReplayRequest,
        principal: Principal,
        compiled: Callable[[], CompiledSnapshot],
    ) -> AsyncIterator[policy_pb2.ReplayResponse]:
        """Flips as they are found, a sign of progress for each page, at last the summary.

        `compiled` makes the documents to decide with; it is called on a thread.
        """
        if request.tenant and not visible(principal.tenant, request.tenant):
            raise Forbidden(
                f"`{principal.name}` may not see `{request.tenant}`: "
                f"ask for `{principal.tenant}` or below it"
            )
        if self._busy:
            raise RateLimited("another replay is running: try again", retry_after_s=RETRY_AFTER_S)
        self._busy = True
        try:
            snapshot = await asyncio.to_thread(compiled)
            async for response in self._responses(request, principal, snapshot):
                yield response
        finally:
            self._busy = False

    async def _responses(
        self,
        request: policy_pb2.ReplayRequest,
        principal: Principal,
        snapshot: CompiledSnapshot,
    ) -> AsyncIterator[policy_pb2.ReplayResponse]:
        replay = await asyncio.to_thread(_replay_of, snapshot)
        flips_left = request.flips_max or FLIPS_MAX
        truncated = False
        async with aclosing(self._read(_vectors_asked(request, principal))) as pages:
            async for page in pages:
                recorded = [_recorded(vector) for vector in page.vectors]
                flips = await asyncio.to_thread(replay.over, recorded, flips_max=flips_left)
                flips_left -= len(flips)
                truncated = truncated or page.truncated
                for flip in flips:
                    yield _flip_to_proto(flip)
                yield policy_pb2.ReplayResponse(replayed=replay.decisions)
        summary = _summary(replay, snapshot)
        summary.truncated = truncated
        yield policy_pb2.ReplayResponse(replayed=replay.decisions, summary=summary)


def _vectors_asked(
    request: policy_pb2.ReplayRequest, principal: Principal
) -> telemetry_pb2.ReadFactVectorsRequest:
    return telemetry_pb2.ReadFactVectorsRequest(
        tenant=request.tenant or principal.tenant,
        start=request.start if request.HasField("start") else None,
        end=request.end if request.HasField("end") else None,
        vectors_max=request.decisions_max,
    )


def _replay_of(snapshot: CompiledSnapshot) -> Replay:
    """With an engine of its own: one thread at a time uses one, and the running one is the loop's."""
    engine = read_engine(snapshot.engine.written(), generation=snapshot.generation)
    return Replay(engine, _candidates_of(snapshot))


def _candidates_of(snapshot: CompiledSnapshot) -> Callable[[str], Candidate | None]:
    catalog, prices = snapshot.catalog, snapshot.prices.at(int(time.time()))

    def candidate_of(name: str) -> Candidate | None:
        model = catalog.models.get(name)
        if model is None:
            return None
        provider = catalog.providers[model.spec.provider].spec
        return Candidate(
            name, candidate_facts(name, model.spec, model.spec.provider, provider, prices[name])
        )

    return candidate_of


def _recorded(vector: telemetry_pb2.FactVector) -> Recorded:
    return Recorded(
        vector.record_id, vector.tenant, vector.profile, vector.started_ns, vector.vector
    )


def _flip_to_proto(flip: Flip) -> policy_pb2.ReplayResponse:
    recorded = flip.recorded
    return policy_pb2.ReplayResponse(
        record_id=recorded.record_id,
        tenant=recorded.tenant,
        profile=recorded.profile,
        started_at=time_to_proto(recorded.started_ns),
        before=_outcome_to_proto(flip.before),
        after=decision_to_proto(flip.after),
        changes=[_CHANGES[change] for change in flip.changes],
    )


def _outcome_to_proto(outcome: Outcome) -> decision_pb2.Decision:
    denied_by = outcome.denied_by
    hit = RuleHit(policy=denied_by[0], rule=denied_by[1], effect="deny") if denied_by else None
    return decision_to_proto(
        Decision(
            effect="deny" if hit else "allow",
            denied_by=hit,
            candidates=outcome.candidates,
            redactions=tuple(
                Redaction(data_class=data_class, how=how) for data_class, how in outcome.redactions
            ),
            output_tokens_max=outcome.output_tokens_max,
            usd_nanos_per_1k_tokens_max=outcome.usd_nanos_per_1k_tokens_max,
        )
    )


def _summary(replay: Replay, snapshot: CompiledSnapshot) -> policy_pb2.ReplaySummary:
    return policy_pb2.ReplaySummary(
        decisions=replay.decisions,
        flips=replay.flips,
        counts=[
            policy_pb2.ReplayCount(change=_CHANGES[change], flips=count)
            for change, count in replay.counts.items()
            if count
        ],
        groups=[
            policy_pb2.ReplayGroup(
                tenant=tenant,
                profile=profile,
                decisions=group.decisions,
                flips=group.flips,
                allow_to_deny=group.allow_to_deny,
                deny_to_allow=group.deny_to_allow,
            )
            for (tenant, profile), group in replay.most_flipped(GROUPS_MAX)
        ],
        skipped=replay.skipped,
        facts_not_recorded=sorted(_asked_but_not_recorded(snapshot)),
    )


def _asked_but_not_recorded(snapshot: CompiledSnapshot) -> set[str]:
    """By their text: a rule that only names such a fact in a message is taken for one that asks it."""
    texts = [msgspec.json.encode(policy.spec) for policy in snapshot.catalog.policies.values()]
    return {name for name in NOT_RECORDED if any(name.encode() in text for text in texts)}
