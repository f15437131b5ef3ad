"""What matching rules add up to. The table in engine.py says how effects combine."""

from collections.abc import Iterable, Mapping, Sequence

from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.core.policy.match import Match, all_of
from harmost.core.tenants import visible

__all__ = ["combined", "united"]


def combined(matches: Sequence[Match], candidates: Sequence[str], *, generation: int) -> Decision:
    """The decision of `matches`, which are in order. O(rules + candidates)."""
    hits = tuple(match.hit for match in matches if _named(match))
    taken_by, remaining, denied_by = _taken(matches, all_of(candidates))
    exclusions = tuple(
        Exclusion(model=name, hit=taken_by[index])
        for index, name in enumerate(candidates)
        if index in taken_by
    )
    if denied_by is not None:
        return Decision(
            effect="deny",
            hits=hits,
            exclusions=exclusions,
            denied_by=denied_by,
            snapshot_generation=generation,
        )
    counting = [match.rule for match in matches if _enforced(match) and match.mask & remaining]
    return Decision(
        effect="allow",
        hits=hits,
        exclusions=exclusions,
        candidates=tuple(name for index, name in enumerate(candidates) if remaining >> index & 1),
        output_tokens_max=_tightest(rule.output_tokens_max for rule in counting),
        usd_nanos_per_1k_tokens_max=_tightest(
            rule.usd_nanos_per_1k_tokens_max for rule in counting
        ),
        redactions=united(each for rule in counting for each in rule.redactions),
        snapshot_generation=generation,
    )


def _named(match: Match) -> bool:
    if match.rule.require and not _enforced(match):
        return match.unmet != 0
    return match.mask != 0


def _enforced(match: Match) -> bool:
    return match.hit.mode == "enforce"


def _taken(
    matches: Sequence[Match], everything: int
) -> tuple[dict[int, RuleHit], int, RuleHit | None]:
    """Which rule took each candidate first, what remains, and the rule that took the last."""
    taken_by: dict[int, RuleHit] = {}
    remaining = everything
    denied_by: RuleHit | None = None
    # By tenant: what its allow rules above this priority except from, and those down to it.
    excepted: dict[str, int] = {}
    excepted_below: dict[str, int] = {}
    priority = None
    for match in filter(_enforced, matches):
        tenant = match.rule.tenant
        if match.rule.priority != priority:
            excepted, priority = dict(excepted_below), match.rule.priority
        if match.hit.effect == "allow":
            excepted_below[tenant] = excepted_below.get(tenant, 0) | match.mask
            continue
        is_deny = match.hit.effect == "deny"
        denied = match.mask & ~_excepted(tenant, excepted) if is_deny else match.unmet
        taken = denied & remaining
        if not taken:
            continue
        remaining &= ~taken
        taken_by.update((index, match.hit) for index in _bits(taken))
        if not remaining:
            denied_by = match.hit
    return taken_by, remaining, denied_by


def _excepted(tenant: str, by_tenant: Mapping[str, int]) -> int:
    """Where a deny rule of `tenant` does not count: no one excepts from what stands above them."""
    excepted = 0
    for allowing, mask in by_tenant.items():
        if visible(allowing, tenant):
            excepted |= mask
    return excepted


def _bits(mask: int) -> list[int]:
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


def _tightest(caps: Iterable[int]) -> int:
    return min((cap for cap in caps if cap), default=0)


def united(redactions: Iterable[Redaction]) -> tuple[Redaction, ...]:
    """Each class once, by name; "label", which shows nothing of what it replaces, wins."""
    found: dict[str, Redaction] = {}
    for redaction in redactions:
        if redaction.how == "label" or redaction.data_class not in found:
            found[redaction.data_class] = redaction
    return tuple(found[name] for name in sorted(found))
