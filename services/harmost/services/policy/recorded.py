"""What a record was decided on, as a question to the documents that run now."""

from contextlib import aclosing

from harmost.core.errors import InvalidInput, NotFound
from harmost.core.policy.vector import decoded
from harmost.core.resources.question import Question
from harmost.core.resources.question import question as asked
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.times import time_from_proto, time_to_proto
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.replay import ReadVectors
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["recorded_question"]

READ_MAX = 1_000  # vectors of one nanosecond: those of one record, and of others by chance


async def recorded_question(
    snapshot: CompiledSnapshot,
    principal: Principal,
    request: policy_pb2.ExplainRequest,
    read: ReadVectors,
    *,
    now_s: int,
) -> Question:
    """The facts of the last decision of the record, and those of its models that there still are.

    Raises NotFound where no vector of it is kept or the principal may not see it.
    """
    if not request.HasField("record_started_at"):
        raise InvalidInput("`record_started_at` is missing: it finds the record, which tells it")
    if request.profile or request.HasField("facts"):
        raise InvalidInput("`record_id` brings its own facts: leave `profile` and `facts` out")
    vector = decoded(await _vector(request, principal, read))
    models = [name for name in vector.candidates if name in snapshot.catalog.models]
    return asked(
        snapshot,
        tenant=str(vector.facts["request.tenant"]),
        principal=str(vector.facts["request.principal"]),
        profile="",
        given=vector.facts,
        models=models,
        now_s=now_s,
    )


async def _vector(
    request: policy_pb2.ExplainRequest, principal: Principal, read: ReadVectors
) -> bytes:
    started_ns = time_from_proto(request.record_started_at)
    wanted = telemetry_pb2.ReadFactVectorsRequest(
        tenant=principal.tenant,
        start=time_to_proto(started_ns),
        end=time_to_proto(started_ns + 1),
        vectors_max=READ_MAX,
    )
    async with aclosing(read(wanted)) as pages:
        async for page in pages:
            for each in page.vectors:  # newest first
                if each.record_id == request.record_id:
                    return each.vector
    raise NotFound(
        f"record `{request.record_id}` has no recorded facts: they are kept for a time only, and "
        "`record_started_at` must be the record's own"
    )
