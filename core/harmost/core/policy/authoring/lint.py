"""What is doubtful about rules that work: each finding with its reason, and facts that show it.

    never-matches     no facts make the condition true
    always-matches    a condition that any facts meet says nothing
    never-met         no model can meet the `require`
    shadowed          without the rule every call would be decided the same
    conflict          two rules both match, and one undoes the other
    redundant         a part of the condition changes nothing
    unguarded         a key that a call may lack is asked for without `in`: an error, which restricts
    open-regions      a list of regions that admits one it does not name
    unknown-region    a region that no document can mean
    no-owner, no-citation, standing-allow, expired, expires-soon

Facts that are shown were decided on by the engine, with all rules. What a bounded search cannot decide
is listed as undecided. The checks of one rule are lint_rule.py's, those of several lint_pairs.py's.
"""

from collections.abc import Callable, Sequence

from harmost.core.limits import POLICY_LINT_STEPS_MAX
from harmost.core.policy.authoring.lint_pairs import check_pairs
from harmost.core.policy.authoring.lint_rule import check_rule
from harmost.core.policy.authoring.lint_run import Lint, LintReport
from harmost.core.resources.kinds import Metadata, PolicySpec

__all__ = ["lint"]


def lint(
    policies: Sequence[tuple[Metadata, PolicySpec]],
    *,
    now_s: int,
    expires_within_s: int,
    steps_max: int = POLICY_LINT_STEPS_MAX,
    progress: Callable[[int, int], None] | None = None,
) -> LintReport:
    """What is doubtful about `policies` at `now_s`; raises PoliciesRefused if they do not compile.

    `progress` hears how many rules of how many are done. About 4 ms a rule; `steps_max` bounds it.
    """
    run = Lint(policies, now_s=now_s, steps_max=steps_max)
    for done, rule in enumerate(run.rules):
        if progress is not None:
            progress(done, len(run.rules))
        check_rule(run, rule, expires_within_s=expires_within_s)
    check_pairs(run)
    place = {(meta.name,): index for index, (meta, _) in enumerate(policies)}
    findings = sorted(run.findings, key=lambda each: (place[each.policy,], _order(each.path)))
    return LintReport(
        findings=tuple(findings), undecided=tuple(run.undecided), rules=len(run.rules)
    )


def _order(path: tuple[str | int, ...]) -> tuple[bool, int]:
    """Rules before exceptions, each as written."""
    return path[0] == "exceptions", int(path[1])
