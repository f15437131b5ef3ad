"""The tools of policy authors over the running documents: Test, Lint and Explain.

Each works on an engine of its own, on a thread, so that decisions go on meanwhile.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from harmost.core.errors import InvalidInput, RateLimited
from harmost.core.limits import POLICY_LINT_RPC_STEPS_MAX, POLICY_TEST_RPC_RULES_MAX
from harmost.core.policy.authoring.cases import PlacedCase, parse_cases
from harmost.core.policy.authoring.explain import Explainer
from harmost.core.policy.authoring.lint import lint
from harmost.core.policy.authoring.trial import try_cases
from harmost.core.policy.compile import compile_policies
from harmost.core.resources.kinds import Metadata, PolicySpec
from harmost.core.resources.parse import ParsedDocument, Source, parse_sources
from harmost.core.resources.question import Question
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.core.tenants import visible
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.authoring import (
    explanation_to_proto,
    lint_to_proto,
    trial_to_proto,
)
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.decide import check_tenant
from harmost.services.policy.documents import Origin, Running, change

__all__ = ["Authoring"]

RETRY_AFTER_S = 5.0
EXPIRES_WITHIN_S = 14 * 86_400

AnswerT = TypeVar("AnswerT")


class Authoring:
    """Serves one service; keeps the explainer of the running snapshot."""

    def __init__(self) -> None:
        # Held by threads, not tasks: a caller that leaves does not end the work it began.
        self._long_work = threading.Lock()
        self._explaining = threading.Lock()
        self._explainer: tuple[CompiledSnapshot, Explainer] | None = None

    async def test(
        self, running: Running, principal: Principal, request: policy_pb2.TestRequest, *, now_s: int
    ) -> policy_pb2.TestResponse:
        """Run the tests of `request`; raises InvalidDocuments, Forbidden or RateLimited."""
        return await self._alone(lambda: _tested(running, principal, request, now_s))

    async def lint(
        self, running: Running, principal: Principal, request: policy_pb2.LintRequest, *, now_s: int
    ) -> policy_pb2.LintResponse:
        """What is doubtful; raises InvalidDocuments, Forbidden or RateLimited."""
        return await self._alone(lambda: _linted(running, principal, request, now_s))

    async def explain(
        self, snapshot: CompiledSnapshot, asked: Question, *, now_s: int
    ) -> policy_pb2.ExplainResponse:
        """The decision on what is `asked`, with its reasons."""
        return await asyncio.to_thread(self._explained, snapshot, asked, now_s)

    async def _alone(self, work: Callable[[], AnswerT]) -> AnswerT:
        if not self._long_work.acquire(blocking=False):
            raise RateLimited(
                "tests or a lint of policies are running: try again", retry_after_s=RETRY_AFTER_S
            )

        def worked() -> AnswerT:
            try:
                return work()
            finally:
                self._long_work.release()

        return await asyncio.shield(asyncio.to_thread(worked))

    def _explained(
        self, snapshot: CompiledSnapshot, asked: Question, now_s: int
    ) -> policy_pb2.ExplainResponse:
        with self._explaining:  # short: whoever is second waits
            if self._explainer is None or self._explainer[0] is not snapshot:
                policies = _policies(snapshot)
                engine = compile_policies(policies, generation=snapshot.generation)
                self._explainer = snapshot, Explainer(policies, engine)
            explainer = self._explainer[1]
            explanation = explainer.explain(asked.request, asked.candidates, now_s=now_s)
        return explanation_to_proto(explanation)


def _tested(
    running: Running, principal: Principal, request: policy_pb2.TestRequest, now_s: int
) -> policy_pb2.TestResponse:
    cases = parse_cases([Source(source.name, source.yaml) for source in request.tests])
    cases = tuple(_of(principal, placed) for placed in cases)
    documents = _documents(running, principal, list(request.sources))
    snapshot = compile_snapshot(running.generation, list(documents.values()))
    policies = snapshot.catalog.policies
    rules = sum(len(each.spec.rules) + len(each.spec.exceptions) for each in policies.values())
    if len(cases) * rules > POLICY_TEST_RPC_RULES_MAX:
        raise InvalidInput(
            f"{len(cases)} tests of {rules} rules are too many at once: run them in parts, or on "
            "files (`harmost policy test -f` without `--running`)"
        )
    return trial_to_proto(
        try_cases(snapshot, cases, now_s=now_s),
        shown=lambda name: visible(principal.tenant, policies[name].metadata.tenant),
    )


def _linted(
    running: Running, principal: Principal, request: policy_pb2.LintRequest, now_s: int
) -> policy_pb2.LintResponse:
    documents = _documents(running, principal, list(request.sources))
    policies = [
        (parsed.document.metadata, parsed.document.spec)
        for parsed in documents.values()
        if isinstance(parsed.document.spec, PolicySpec)
    ]
    given = request.HasField("expires_within")
    report = lint(
        policies,
        now_s=now_s,
        expires_within_s=request.expires_within.seconds if given else EXPIRES_WITHIN_S,
        steps_max=POLICY_LINT_RPC_STEPS_MAX,
    )
    return lint_to_proto(
        report,
        {
            name: parsed
            for (kind, name), parsed in documents.items()
            if kind == "Policy" and visible(principal.tenant, parsed.document.owner)
        },
    )


def _of(principal: Principal, placed: PlacedCase) -> PlacedCase:
    """The test as `principal` may run it: of its own tenant where the test names none."""
    tenant = placed.case.facts.get("request.tenant", principal.tenant)
    check_tenant(principal, tenant)
    return placed.of_tenant(str(tenant))


def _documents(
    running: Running, principal: Principal, sources: list[policy_pb2.Source]
) -> dict[tuple[str, str], ParsedDocument]:
    """The running documents with `sources` over them, as an Apply by `principal` would have them."""
    documents = {key: kept.parsed for key, kept in running.documents.items()}
    if sources:
        put = parse_sources([Source(source.name, source.yaml) for source in sources])
        origin = Origin(principal, now_ms=time.time_ns() // 1_000_000)
        after = change(running, put=put, remove=(), origin=origin).running
        documents = {key: kept.parsed for key, kept in after.documents.items()}
        # Told at their place in the file that was sent.
        documents |= {parsed.key: parsed for parsed in put if parsed.key[0] == "Policy"}
    return documents


def _policies(snapshot: CompiledSnapshot) -> list[tuple[Metadata, PolicySpec]]:
    return [(policy.metadata, policy.spec) for policy in snapshot.catalog.policies.values()]
