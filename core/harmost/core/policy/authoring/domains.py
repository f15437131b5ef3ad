"""Which values of a fact matter to some atoms: a few that stand for all, or the most telling ones.

A `Subject` is a fact, or one key of a map. Where every atom compares a subject with constants, its
domain is complete: any value behaves as one of it does. A subject that is asked in another way, such
as by a regular expression or against another fact, has values to try, and then nothing can be said
about all values. `data.classes` holds what its classes imply, as in every real call.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Final, NamedTuple, cast

from harmost.core.policy.authoring.atoms import atoms_of
from harmost.core.policy.cel.ir import (
    Call,
    Compare,
    Const,
    Each,
    Fact,
    Has,
    In,
    Index,
    ListOf,
    Local,
    Node,
    children,
    walk,
)
from harmost.core.policy.facts import FactScope, FactType, FactValue, declared_facts
from harmost.core.privacy.classes import with_implied
from harmost.core.tenants import visible

__all__ = ["ABSENT", "Domain", "Situation", "Subject", "domains_of", "situation", "subjects_of"]

ABSENT: Final = None  # a map without the key
VALUES_MAX = (
    256  # of one subject; beyond it some stand for the rest, and the domain is not complete
)
_MEMBERS_MAX = 7  # of a list, of which each subset is tried
_SAME = {"model.provider": "provider.name"}  # two names of one fact


class Subject(NamedTuple):
    """What atoms ask about: a fact, or the value of a map under `key`."""

    fact: str
    key: str | None = None


class Domain(NamedTuple):
    """Values to try, the likeliest first. `complete`: they stand for all."""

    values: tuple[FactValue | None, ...]
    complete: bool


class Situation(NamedTuple):
    """Facts that could be those of a call and a candidate; what is not named has its default."""

    request: dict[str, FactValue]
    candidate: dict[str, FactValue]


@dataclass(slots=True)
class _Usage:
    """How atoms ask about one subject."""

    constants: list[str | int | float] = field(default_factory=list[str | int | float])
    prefixes: list[str] = field(default_factory=list[str])
    suffixes: list[str] = field(default_factory=list[str])
    inner: list[str] = field(default_factory=list[str])
    odd: bool = False


def subjects_of(node: Node) -> frozenset[Subject]:
    """Every subject that `node` asks about."""
    return frozenset(_subjects(node))


def domains_of(atoms: Iterable[Node], *, tenant: str = "") -> dict[Subject, Domain]:
    """A domain for each subject of `atoms`, calls charged at or below `tenant` in mind. O(constants)."""
    usages: dict[Subject, _Usage] = {}
    for atom in atoms:
        subjects = subjects_of(atom)
        for subject in subjects:
            usages.setdefault(subject, _Usage())
        if not _noted(atom, usages):
            for subject in subjects:
                _note_odd(atom, usages[subject])
    return {subject: _domain(subject, usage, tenant) for subject, usage in usages.items()}


def situation(values: Mapping[Subject, FactValue | None]) -> Situation:
    """The facts that `values` say."""
    made = Situation({}, {})
    for subject, value in values.items():
        declared = declared_facts()[subject.fact]
        facts = made.request if declared.scope is FactScope.REQUEST else made.candidate
        if subject.key is None:
            if isinstance(value, Mapping):  # keys of it may be subjects too
                facts.setdefault(subject.fact, dict(cast("Mapping[str, str]", value)))
            elif value is not None:
                facts[subject.fact] = value
            continue
        mapping = cast("dict[str, str]", facts.setdefault(subject.fact, {}))
        if value is not None:
            mapping[subject.key] = cast("str", value)
    if "provider.name" in made.candidate:
        made.candidate["model.provider"] = made.candidate["provider.name"]
    return made


def _subjects(node: Node) -> Iterable[Subject]:
    waiting = [node]
    while waiting:
        here = waiting.pop()
        match here:
            case Index(Fact(name, _), Const("string", str(key))) | Has(Fact(name, _), key):
                yield Subject(name, key)
            case In(Const("string", str(key)), Fact(name, kind)) if kind.startswith("map"):
                yield Subject(name, key)
            case Fact(name, _):
                yield Subject(_SAME.get(name, name))
            case _:
                waiting.extend(children(here))


def _subject(node: Node) -> Subject | None:
    """The subject that `node` is, if it is one and no more."""
    match node:
        case Fact(name, kind) if not kind.startswith("map"):
            return Subject(_SAME.get(name, name))
        case Index(Fact(name, _), Const("string", str(key))):
            return Subject(name, key)
        case _:
            return None


def _noted(atom: Node, usages: Mapping[Subject, _Usage]) -> bool:
    """Note how `atom` asks, if it is of a kind whose values are known."""
    match atom:
        case Fact(_, "bool"):
            return True
        case Has(Fact(), _) | In(Const("string"), Fact()):
            return _note_member(atom, usages)
        case Compare(op, left, Const() as constant) if (subject := _subject(left)) is not None:
            return _note_compare(op, constant, usages[subject])
        case Compare(op, Const() as constant, right) if (subject := _subject(right)) is not None:
            return _note_compare(op, constant, usages[subject])
        case In(item, ListOf(items)) if (subject := _subject(item)) is not None:
            if not all(isinstance(each, Const) for each in items):
                return False
            usages[subject].constants += _constants(items)
            return True
        case Call(
            "startsWith" | "endsWith" | "contains" as function, (part, Const("string", str(text)))
        ):
            subject = _subject(part)
            if subject is None:
                return False
            usage = usages[subject]
            where = {"startsWith": usage.prefixes, "endsWith": usage.suffixes}
            where.get(function, usage.inner).append(text)
            return True
        case Compare(op, Call("size", (Fact(_, kind),)), Const("int", int(size))):
            # Empty or not: other sizes would need lists of that length.
            return kind.startswith("list") and (op, size) in _EMPTY_OR_NOT
        case Each("exists" | "all", Fact(name, _), test) if _plain_test(test):
            usages[Subject(name)].constants += _constants(walk(test))
            return True
        case _:
            return False


_EMPTY_OR_NOT = {("==", 0), ("!=", 0), (">", 0), ("<=", 0), (">=", 1), ("<", 1)}


def _note_member(atom: Node, usages: Mapping[Subject, _Usage]) -> bool:
    match atom:
        case In(Const("string", str(text)), Fact(name, kind)) if kind.startswith("list"):
            usages[Subject(name)].constants.append(text)
            return True
        case Has() | In(_, Fact()):
            return True
        case _:
            return False


def _note_compare(op: str, constant: Const, usage: _Usage) -> bool:
    value = constant.value
    if isinstance(value, bool):
        return op in ("==", "!=")
    if isinstance(value, str):
        usage.constants.append(value)
        return op in ("==", "!=")
    if isinstance(value, int | float):
        usage.constants.append(value)
        return True
    return False


def _plain_test(test: Node) -> bool:
    """Whether a macro compares its item with constants, and asks nothing else."""
    for atom in atoms_of(test):
        match atom:
            case Compare("==" | "!=", Local(0), Const("string")):
                continue
            case Compare("==" | "!=", Const("string"), Local(0)):
                continue
            case In(Local(0), ListOf(items)) if all(isinstance(item, Const) for item in items):
                continue
            case _:
                return False
    return True


def _note_odd(atom: Node, usage: _Usage) -> None:
    usage.odd = True
    usage.constants += _constants(walk(atom))


def _constants(nodes: Iterable[Node]) -> list[str | int | float]:
    return [
        node.value
        for node in nodes
        if isinstance(node, Const)
        and isinstance(node.value, str | int | float)
        and not isinstance(node.value, bool)
    ]


def _domain(subject: Subject, usage: _Usage, tenant: str) -> Domain:
    declared = declared_facts()[subject.fact].type
    kind = _VALUE_TYPES.get(declared, declared) if subject.key is not None else declared
    values: Sequence[FactValue | None]
    whole = True
    match kind:
        case FactType.BOOL:
            values = (True, False)
        case FactType.INT | FactType.DOUBLE:
            # No fact is negative; what a document says under a key may be.
            least = 0 if subject.key is None else None
            values = _numbers(usage.constants, whole=kind is FactType.INT, least=least)
        case FactType.STRINGS:
            return _lists(subject, usage)
        case FactType.STRING:
            values, whole = _strings(usage)
            if subject.fact == "request.tenant":
                values = _tenants(values, tenant)
        case _:
            return Domain(({},), False)  # a whole map
    complete = whole and not usage.odd and len(values) <= VALUES_MAX
    values = values[:VALUES_MAX]
    return Domain((*values, ABSENT) if subject.key is not None else tuple(values), complete)


_VALUE_TYPES = {FactType.STRING_MAP: FactType.STRING, FactType.INT_MAP: FactType.INT}


def _numbers(constants: Iterable[object], *, whole: bool, least: int | None) -> list[FactValue]:
    """Each threshold and its neighbours, none below `least`."""
    found: set[int | float] = {0}
    for constant in constants:
        if isinstance(constant, int | float) and abs(constant) < 2**62:
            near = int(constant) if whole else constant
            steps = (-1, 0, 1, 2) if whole else (-0.5, 0.0, 0.5)
            found.update(near + step for step in steps)
    return [value for value in sorted(found) if least is None or value >= least]


def _strings(usage: _Usage) -> tuple[list[FactValue], bool]:
    """Constants, and one text for each set of prefix, suffix and parts that a text can have.

    Whether these are all such sets: where they are too many, some are left out.
    """
    constants = [text for text in dict.fromkeys(usage.constants) if isinstance(text, str)]
    parts = (usage.prefixes, usage.suffixes, usage.inner)
    texts = [*constants, *(text for part in parts for text in part)]
    if not any(parts):
        return [*constants, _unlike(texts)], True
    mark = next(char for char in _MARKS if not any(char in text for text in texts))
    prefixes, suffixes, inner = (list(dict.fromkeys(part)) for part in parts)
    few = inner[:_MEMBERS_MAX]
    subsets = [each for size in range(len(few) + 1) for each in combinations(few, size)]
    every = [tuple(inner)] if len(inner) > len(few) else []
    found: dict[str, None] = dict.fromkeys(constants)
    for subset, prefix, suffix in product([*every, *subsets], ["", *prefixes], ["", *suffixes]):
        found[mark.join([prefix, *subset, suffix]) if subset else f"{prefix}{mark}{suffix}"] = None
        if len(found) > VALUES_MAX:
            break
    return list(found), not every and len(found) <= VALUES_MAX


_MARKS = "-_.~*#@%&=+|^§¤¶·" + "".join(map(chr, range(0x2500, 0x2600)))


def _unlike(texts: Sequence[str]) -> str:
    number = 0
    while (text := f"other{number or ''}") in texts:
        number += 1
    return text


def _tenants(values: Sequence[FactValue], tenant: str) -> list[FactValue]:
    """Those at or below `tenant`, itself first."""
    found: dict[FactValue, None] = dict.fromkeys([tenant] if tenant else [])
    for value in values:
        if visible(tenant, str(value)):
            found[value] = None
    other = f"{tenant}/other" if tenant else "other"
    while other in found:
        other += "0"
    found[other] = None
    return list(found)


def _lists(subject: Subject, usage: _Usage) -> Domain:
    """Every set of the members that are named, and one that is not; the smaller ones first."""
    members = [text for text in dict.fromkeys(usage.constants) if isinstance(text, str)]
    complete = not usage.odd and len(members) < _MEMBERS_MAX
    members = [*members[: _MEMBERS_MAX - 1], _unlike(members)]
    subsets = [each for size in range(len(members) + 1) for each in combinations(members, size)]
    lists = [list(each) for each in subsets]
    if subject.fact == "data.classes":
        lists = [with_implied(each) for each in subsets]
    found = {tuple(each): each for each in lists}
    return Domain(tuple(found.values()), complete)
