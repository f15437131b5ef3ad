"""What the linter asks about one rule by itself."""

from collections.abc import Iterator

from harmost.core.policy.authoring.atoms import ANY, ERROR, FALSE, TRUE, atoms_of, replaced
from harmost.core.policy.authoring.domains import Subject, domains_of
from harmost.core.policy.authoring.lint_run import ALWAYS, Lint, matches
from harmost.core.policy.authoring.regions import REGIONS
from harmost.core.policy.authoring.search import Goal
from harmost.core.policy.cel.ir import Compare, Const, Fact, In, Index, ListOf, Node, walk
from harmost.core.policy.cel.text import text_of
from harmost.core.policy.rules import CompiledRule

__all__ = ["check_rule"]

ATOMS_MAX = 12  # of a condition whose parts are each asked about
KEYS_MAX = 12  # of maps that it asks for, likewise
_DAY_S = 86_400
_REGION_FACTS = frozenset({"model.region", "provider.region", "subject.region"})
_PLACES = ("model.region", "provider.region")  # where data would go


def check_rule(run: Lint, rule: CompiledRule, *, expires_within_s: int) -> None:
    """Find what is doubtful about `rule`, whatever the other rules say."""
    _check_said(run, rule)
    _check_expiry(run, rule, expires_within_s)
    _check_regions(run, rule)
    when = run.when(rule)
    if when != ALWAYS and not _never(run, rule, when):
        _check_redundant(run, rule, when)
        _check_unguarded(run, rule, when)
    if rule.require_text and _is_never(run, rule, run.require(rule), TRUE):
        run.add(
            "never-met",
            rule,
            "no model can meet it: every call that it is about is denied",
            field="require",
        )


def _check_said(run: Lint, rule: CompiledRule) -> None:
    if not rule.owner.strip():
        run.add("no-owner", rule, "nobody answers for it: write `owner`, here or for the policy")
    if not rule.hit.citations:
        run.add("no-citation", rule, "it rests on nothing that it names: write `cites`")
    if rule.hit.effect == "allow" and not rule.expires_s:
        run.add(
            "standing-allow",
            rule,
            "it never ends and nobody approved it: write it under `exceptions`",
            field="allow",
        )


def _check_expiry(run: Lint, rule: CompiledRule, within_s: int) -> None:
    if not rule.expires_s:
        return
    left_s = rule.expires_s - run.now_s
    if left_s <= 0:
        message = f"it expired {-left_s // _DAY_S} days ago and rests: remove it or renew it"
        run.add("expired", rule, message, field="expires")
    elif left_s <= within_s:
        run.add("expires-soon", rule, f"it expires in {left_s // _DAY_S} days", field="expires")


def _check_regions(run: Lint, rule: CompiledRule) -> None:
    parts = {"when": run.when(rule), "require": run.require(rule)}
    for field, node in parts.items():
        for fact, region in dict.fromkeys(_named_regions(node)):
            if fact in _REGION_FACTS and region and region not in REGIONS:
                run.add(
                    "unknown-region",
                    rule,
                    f"`{region[:40]}` is no region: `{fact}` is one of {', '.join(REGIONS)}",
                    field=field,
                )
    # What is asked of a model's region has to name those that are good: new ones come.
    positive = {"require": bool(rule.require_text), "when": rule.hit.effect == "allow"}
    for field, node in parts.items():
        if positive[field]:
            _check_open(run, rule, node, field)


def _check_open(run: Lint, rule: CompiledRule, node: Node, field: str) -> None:
    """Whether `node` lists regions and still admits one that it does not list."""
    named = [(fact, region) for fact, region in _named_regions(node) if fact in _PLACES]
    for fact in dict.fromkeys(fact for fact, _ in named):
        listed = [region for name, region in named if name == fact]
        unlisted = next((region for region in REGIONS if region not in listed), "other")
        goals = [Goal(node, TRUE)]
        if field == "require":
            goals.append(Goal(run.when(rule), matches(rule)))
        if not any(listed):  # only "", which is not stated
            continue
        answer = run.find("open-regions", rule, goals, only={Subject(fact): (unlisted,)})
        if answer.kind != "found" or not _decides(run, rule, node, fact, unlisted):
            continue
        witness = run.shown(answer.facts, rule.tenant, [rule])
        if witness is not None:
            run.add(
                "open-regions",
                rule,
                f"it admits regions that it does not name, such as `{unlisted}`: "
                f"list those that are good, as in `{fact} in [...]`",
                field=field,
                witness=witness,
            )


def _decides(run: Lint, rule: CompiledRule, node: Node, fact: str, unlisted: str) -> bool:
    """Whether some region of `fact` that is named makes `node` false where `unlisted` made it true."""
    values = domains_of(atoms_of(node), tenant=rule.tenant)[Subject(fact)].values
    named = [value for value in values if value != unlisted]
    answer = run.find("open-regions", rule, [Goal(node, FALSE)], only={Subject(fact): tuple(named)})
    return answer.kind == "found"


def _named_regions(node: Node) -> Iterator[tuple[str, str]]:
    """Fact and constant of each comparison of a region."""
    for part in walk(node):
        match part:
            case Compare("==" | "!=", Fact(name, _), Const("string", str(region))):
                yield name, region
            case Compare("==" | "!=", Const("string", str(region)), Fact(name, _)):
                yield name, region
            case In(Fact(name, _), ListOf(items)):
                for item in items:
                    if isinstance(item, Const) and isinstance(item.value, str):
                        yield name, item.value
            case _:
                continue


def _never(run: Lint, rule: CompiledRule, when: Node) -> bool:
    """Whether no facts make `when` true, or all do; told."""
    if _is_never(run, rule, when, TRUE, kind="never-matches"):
        if matches(rule) & ERROR and not _is_never(run, rule, when, ERROR, kind="never-matches"):
            message = "no facts make it true: it matches only where it cannot be evaluated"
        else:
            message = "no facts make it true: correct it or remove the rule"
        run.add("never-matches", rule, message, field="when")
        return True
    if _is_never(run, rule, when, ANY & ~matches(rule), kind="always-matches"):
        message = "it is met by every call: leave `when` out"
        run.add("always-matches", rule, message, field="when")
        return True
    return False


def _is_never(
    run: Lint, rule: CompiledRule, node: Node, outcomes: int, *, kind: str = "never-met"
) -> bool:
    answer = run.find(kind, rule, [Goal(node, outcomes)])  # type: ignore[arg-type]
    return answer.kind == "never"


def _check_redundant(run: Lint, rule: CompiledRule, when: Node) -> None:
    """An atom is redundant if putting true, or false, in its place gives the same matches."""
    atoms = atoms_of(when)
    if len(atoms) < 2:
        return
    if len(atoms) > ATOMS_MAX:
        run.leave_open("redundant", rule, f"its condition has more than {ATOMS_MAX} parts")
        return
    counts = matches(rule)
    for atom in atoms:
        for constant in (True, False):
            other = replaced(when, atom, constant)
            differs = (
                [Goal(when, counts), Goal(other, ANY & ~counts)],
                [Goal(when, ANY & ~counts), Goal(other, counts)],
            )
            answers = [run.find("redundant", rule, goals).kind for goals in differs]
            if answers == ["never", "never"]:
                run.add(
                    "redundant",
                    rule,
                    f"`{text_of(atom)}` changes nothing there: leave it out",
                    field="when",
                )
                return  # without it another part may be needed after all


def _check_unguarded(run: Lint, rule: CompiledRule, when: Node) -> None:
    """A key that is absent makes the condition an error."""
    keys = [(part, Subject(name, key)) for part in walk(when) for name, key in _asked_key(part)]
    asked = list(dict.fromkeys(keys))
    if len(asked) > KEYS_MAX:
        run.leave_open("unguarded", rule, f"its condition asks for more than {KEYS_MAX} keys")
    for part, subject in asked[:KEYS_MAX]:
        answer = run.find("unguarded", rule, [Goal(when, ERROR)], only={subject: (None,)})
        if answer.kind != "found" or answer.facts is None:
            continue
        witness, traces = run.traced(answer.facts, rule.tenant)
        if not traces[rule.hit.policy, rule.hit.rule].hit.error:
            continue
        outcome = "never grants" if rule.hit.effect == "allow" else "matches, since it restricts"
        run.add(
            "unguarded",
            rule,
            f"`{text_of(part)}` cannot be evaluated without that key, and then the rule {outcome}: "
            f'ask `"{subject.key}" in {subject.fact}` first',
            field="when",
            witness=witness,
        )


def _asked_key(part: Node) -> Iterator[tuple[str, str]]:
    match part:
        case Index(Fact(name, _), Const("string", str(key))):
            yield name, key
        case _:
            return
