"""Policy documents -> engine: what the control plane does once for each generation."""

from collections.abc import Sequence

from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.engine import Engine
from harmost.core.policy.index.forms import Lowering
from harmost.core.policy.rules import RuleCompiler
from harmost.core.resources.kinds import Metadata, PolicySpec

__all__ = ["PolicyCompiler", "compile_policies"]


def compile_policies(policies: Sequence[tuple[Metadata, PolicySpec]], *, generation: int) -> Engine:
    """An engine for `policies`, or PoliciesRefused with all their problems. About 0.2 ms a rule."""
    return PolicyCompiler().compile(policies, generation=generation)


class PolicyCompiler:
    """Compiles one generation after the other, and only what is new in each. Not for threads at once."""

    def __init__(self) -> None:
        self._rules = RuleCompiler(fact_environment())
        self._lowering = Lowering()

    def compile(
        self, policies: Sequence[tuple[Metadata, PolicySpec]], *, generation: int
    ) -> Engine:
        """An engine for `policies`, or PoliciesRefused with all their problems."""
        rules = self._lowering.rule_set(self._rules.compile(policies))
        return Engine(rules, generation=generation)
