"""What is wrong with a rule or an exception apart from its CEL: each problem as (field, message)."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from harmost.core.budget.price import usd_nanos
from harmost.core.limits import RULE_CITATIONS_MAX, RULE_MESSAGE_CHARS_MAX, RULE_NAME_CHARS_MAX
from harmost.core.policy.decision import Effect
from harmost.core.policy.expiry import rfc3339_s
from harmost.core.policy.rollout import PERCENT_MAX
from harmost.core.privacy.classes import FOUND_CLASSES, IMPLIED_CLASSES
from harmost.core.resources.kinds import PolicyException, Rollout, Rule
from harmost.core.resources.shapes import quoted

__all__ = ["EFFECT_FIELDS", "effects_of", "exception_problems", "found_classes", "rule_problems"]

Problems: TypeAlias = list[tuple[str, str]]

# Effect, and the field of a rule that states it.
EFFECT_FIELDS: Mapping[Effect, str] = {
    "deny": "deny",
    "allow": "allow",
    "require": "require",
    "redact": "redact",
    "cap_tokens": "cap_output_tokens",
    "cap_price": "cap_usd_per_1k_tokens",
}


def effects_of(rule: Rule) -> list[Effect]:
    """The effects that `rule` states; one that is sound states exactly one."""
    stated: Mapping[Effect, bool] = {
        "deny": rule.deny is not None,
        "allow": rule.allow,
        "require": bool(rule.require),
        "redact": rule.redact is not None,
        "cap_tokens": rule.cap_output_tokens != 0,
        "cap_price": bool(rule.cap_usd_per_1k_tokens),
    }
    return [effect for effect, said in stated.items() if said]


def found_classes(name: str) -> list[str]:
    """What the scanner finds of the class `name`: itself, or the classes that imply it."""
    return [found for found in FOUND_CLASSES if found == name or name in IMPLIED_CLASSES[found]]


def rule_problems(rule: Rule) -> Problems:
    """What is wrong with `rule`, every effect and field of it."""
    effects = effects_of(rule)
    texts = [("deny", rule.deny or ""), ("message", rule.message)]
    problems = _long_texts(rule.name, rule.cites, texts)
    if rule.deny and rule.message:
        problems.append(("message", "`deny` has a text already: remove one of them"))
    if not rule.name:
        problems.append(("name", "rule has no name: give it one"))
    if not effects:
        fields = ", ".join(f"`{field}`" for field in EFFECT_FIELDS.values())
        problems.append(("name", f"rule has no effect: give it one of {fields}"))
    if len(effects) > 1:
        both = " and ".join(f"`{EFFECT_FIELDS[effect]}`" for effect in effects)
        problems.append(("name", f"rule has the effects {both}: part it into one rule for each"))
    if rule.cap_output_tokens < 0:
        problems.append(
            ("cap_output_tokens", f"`{rule.cap_output_tokens}` is not above 0: write more")
        )
    problems += _price_problems(rule.cap_usd_per_1k_tokens)
    if rule.redact is not None:
        problems += [("redact", message) for message in _redact_problems(rule.redact.classes)]
    if rule.rollout is not None:
        problems += _rollout_problems(rule.rollout, rule.mode)
    return problems


def exception_problems(exception: PolicyException) -> Problems:
    """What is wrong with `exception`; one that has expired is sound, it only rests."""
    texts = [("reason", exception.reason), ("owner", exception.owner)]
    problems = _long_texts(exception.name, exception.cites, texts)
    for field in ("name", "when", "owner", "approver", "reason"):
        if not getattr(exception, field).strip():
            problems.append((field, f"`{field}` is empty: an exception states it"))
    if _person(exception.approver) == _person(exception.owner) != "":
        approver = quoted(exception.approver)
        problems.append(("approver", f"{approver} owns the exception: another has to approve it"))
    try:
        rfc3339_s(exception.expires)
    except ValueError as error:
        problems.append(("expires", str(error)))
    return problems


def _person(text: str) -> str:
    return text.strip().casefold()


def _price_problems(text: str) -> Problems:
    field = EFFECT_FIELDS["cap_price"]
    if not text:
        return []
    try:
        return (
            [] if usd_nanos(text) > 0 else [(field, f"{quoted(text)} is not above 0: write more")]
        )
    except ValueError as error:
        return [(field, str(error))]


def _rollout_problems(rollout: Rollout, mode: str) -> Problems:
    problems: Problems = []
    if not 0 <= rollout.percent <= PERCENT_MAX:
        message = f"`percent` {rollout.percent} is out of range: write 0 to {PERCENT_MAX}"
        problems.append(("rollout", message))
    if mode != "enforce":
        problems.append(
            ("rollout", f"a rule in mode `{mode}` is enforced for no one: remove `mode` or this")
        )
    return problems


def _long_texts(name: str, cites: Sequence[str], messages: Problems) -> Problems:
    texts = [(field, text, RULE_MESSAGE_CHARS_MAX) for field, text in messages]
    texts += [("name", name, RULE_NAME_CHARS_MAX)]
    texts += [("cites", source, RULE_NAME_CHARS_MAX) for source in cites]
    problems = [
        (field, f"`{text[:60]}…` is longer than {chars_max} characters: shorten it")
        for field, text, chars_max in texts
        if len(text) > chars_max
    ]
    if len(cites) > RULE_CITATIONS_MAX:
        message = f"rule cites {len(cites)} sources, more than {RULE_CITATIONS_MAX}: name fewer"
        problems.append(("cites", message))
    return problems


def _redact_problems(classes: Sequence[str]) -> list[str]:
    if not classes:
        return ["no class is named: name some of " + ", ".join(f"`{c}`" for c in FOUND_CLASSES)]
    found = ", ".join(f"`{name}`" for name in FOUND_CLASSES)
    return [
        f"`{name}` cannot be redacted: the scanner finds {found}"
        for name in classes
        if not found_classes(name)
    ]
