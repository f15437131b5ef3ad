"""Policy documents -> engine: what the control plane does once for each generation."""

from collections.abc import Sequence
from typing import NamedTuple

from harmost.core.policy.engine import Engine
from harmost.core.policy.forms import Lowering
from harmost.core.policy.front import fact_environment
from harmost.core.policy.rules import RuleCompiler
from harmost.core.resources.kinds import Metadata, PolicySpec

__all__ = ["PolicyCompiler", "compile_policies"]


def compile_policies(policies: Sequence[tuple[Metadata, PolicySpec]], *, generation: int) -> Engine:
    """An engine for `policies`, or PoliciesRefused with all their problems. About 0.2 ms a rule."""
    return PolicyCompiler().compile(policies, generation=generation)


class PolicyCompiler:
    """Compiles one generation after the other, and only what is new in each.

    Who comes while another thread is at work compiles everything for itself.
    """

    def __init__(self) -> None:
        # Who takes it out may use what is remembered: popping is atomic.
        self._remembered = [_Remembered(RuleCompiler(fact_environment()), Lowering())]

    def compile(
        self, policies: Sequence[tuple[Metadata, PolicySpec]], *, generation: int
    ) -> Engine:
        """An engine for `policies`, or PoliciesRefused with all their problems."""
        try:
            remembered = self._remembered.pop()
        except IndexError:
            return PolicyCompiler().compile(policies, generation=generation)
        try:
            rules = remembered.lowering.rule_set(remembered.rules.compile(policies))
        finally:
            self._remembered.append(remembered)
        return Engine(rules, generation=generation)


class _Remembered(NamedTuple):
    """What was compiled before."""

    rules: RuleCompiler
    lowering: Lowering
