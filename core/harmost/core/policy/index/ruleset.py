"""Compiled policies in the form that decides: rules by priority, their conditions parted into literals.

The control plane makes it; it travels as bytes, and whoever decides needs no CEL parser to read it.
What can be indexed of it is decided where it is read.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypedDict

import msgspec
from msgspec.structs import force_setattr, replace

from harmost.core.errors import InvalidInput
from harmost.core.limits import RULES_MAX, TENANT_DEPTH_MAX
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.ir import IrRefused, Node
from harmost.core.policy.decision import Redaction, RuleHit
from harmost.core.policy.rollout import rolled_out

__all__ = [
    "VERSION",
    "Conjunction",
    "RuleForm",
    "RuleNumbers",
    "RuleSet",
    "read_rule_set",
    "written",
]

# A change of any field here makes a new version; a reader of another one refuses.
VERSION = 1

# Of each literal twice its place among the atoms, plus 1 where it is negated.
Conjunction: TypeAlias = tuple[int, ...]


class RuleForm(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A rule ready to be indexed: it matches where all literals of any of `matches` hold.

    `unmet` says the same of where it matches and its `require` fails. `when` and `require` are the
    conditions as ir.py writes them, b"" where there is none; the other fields are CompiledRule's.
    """

    hit: RuleHit
    tenant: str
    priority: int
    matches: tuple[Conjunction, ...]
    unmet: tuple[Conjunction, ...]
    when: bytes
    require: bytes
    redactions: tuple[Redaction, ...]
    output_tokens_max: int
    usd_nanos_per_1k_tokens_max: int
    rollout_percent: int
    hit_elsewhere: RuleHit | None
    expires_s: int
    when_text: str
    when_asks_candidate: bool
    require_asks_candidate: bool

    def hit_of(self, tenant: str) -> RuleHit:
        """What a decision about a call charged to `tenant` names."""
        if self.hit_elsewhere is None or rolled_out(self.hit.policy, tenant, self.rollout_percent):
            return self.hit
        return self.hit_elsewhere

    def rests(self, now_s: int) -> bool:
        """Whether it has expired."""
        return 0 < self.expires_s <= now_s


class RuleNumbers(TypedDict):
    """What a rule adds to a decision, in numbers; the struct `Rule` of decide.pxd."""

    priority: int
    output_tokens_max: int
    usd_nanos_max: int
    expires_s: int
    redactions: int
    level: int
    allows: bool
    denies: bool
    requires: bool
    doubtful: bool
    enforced: bool
    rollout: int


class RuleSet(msgspec.Struct, frozen=True, array_like=True):
    """All rules, highest priority first, and the atoms that their literals name."""

    version: int
    atoms: tuple[Node, ...]
    rules: tuple[RuleForm, ...]


def written(rules: RuleSet) -> bytes:
    """`rules` as bytes, for read_rule_set: the same for the same rules, whatever was compiled before."""
    return msgspec.msgpack.encode(_canonical(rules))


def _canonical(rules: RuleSet) -> RuleSet:
    """The same rules, atoms numbered as they are met, and none that no rule has."""
    numbers: dict[int, int] = {}

    def renumbered(found: tuple[Conjunction, ...]) -> tuple[Conjunction, ...]:
        return tuple(
            tuple(2 * numbers.setdefault(at >> 1, len(numbers)) + (at & 1) for at in conjunction)
            for conjunction in found
        )

    forms = tuple(
        replace(rule, matches=renumbered(rule.matches), unmet=renumbered(rule.unmet))
        for rule in rules.rules
    )
    return RuleSet(rules.version, tuple(rules.atoms[at] for at in numbers), forms)


_DECODER = msgspec.msgpack.Decoder(RuleSet)


def read_rule_set(data: bytes) -> RuleSet:
    """The rules in `data`, checked; raises InvalidInput. Hostile bytes do no harm.

    About 4 us a rule. The conditions in `when` and `require` are checked when they are first run.
    """
    try:
        found = _DECODER.decode(data)
        for atom in found.atoms:
            ir.check(atom)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IrRefused) as error:
        raise InvalidInput(f"compiled policies are unreadable: {error}; apply them again") from None
    if problem := _problem(found):
        raise InvalidInput(f"compiled policies cannot be used: {problem}")
    _share(found.rules)
    return found


def _share(rules: Sequence[RuleForm]) -> None:
    """Make equal texts one object: a document's rules have many in common."""
    known: dict[str | bytes, str | bytes] = {}
    for rule in rules:
        for holder, name in ((rule.hit, "policy"), (rule.hit, "message"), (rule, "require")):
            text: str | bytes = getattr(holder, name)
            force_setattr(holder, name, known.setdefault(text, text))


def _problem(found: RuleSet) -> str:
    if found.version != VERSION:
        return (
            f"they are of version {found.version}, this reads {VERSION}: "
            "run the same version everywhere"
        )
    if len(found.rules) > RULES_MAX:
        return f"there are {len(found.rules)} rules, more than {RULES_MAX}: remove some"
    literals = range(2 * len(found.atoms))
    before = None
    for rule in found.rules:
        name = f"rule `{rule.hit.rule[:100]}`"
        for conjunction in (*rule.matches, *rule.unmet):
            if any(literal not in literals for literal in conjunction):
                return f"{name} names a condition that is not there: apply them again"
        if rule.tenant.count("/") >= TENANT_DEPTH_MAX:
            return f"{name} binds a tenant below {TENANT_DEPTH_MAX} levels: bind one above it"
        if before is not None and rule.priority > before:
            return f"{name} is out of order: apply them again"
        before = rule.priority
    return ""
