"""Random conditions of the profile, over the declared facts or any others, with what they must give.

Each is well typed, as text and as plain Python (see cel_twin.py). Facts and constants come from the same
few values, so that conditions are about as often true as false, and errors are common.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol, TypeAlias

import cel_twin as twin
from hypothesis import strategies as st

from harmost.core.policy.facts import declared_facts

__all__ = ["Choices", "Condition", "Drawn", "Generator", "fact_values", "over_declared_facts"]

# What the parts of a condition read: facts by name, items of macros by name.
Env: TypeAlias = dict[str, object]

STRINGS = (
    "",
    "a",
    "ab",
    "b",
    "EEA",
    "US",
    "personal",
    "pan",
    "eu-west-1",
    "1",
    "é",
    "e\u0301",
    "€",
    "𝄞x",
)
INTS = (0, 1, 2, 3, -1, -2, 7, 100, 2**31, 2**62, 2**63 - 1, -(2**63))
DOUBLES = (0.0, -0.0, 1.0, 1.5, -2.5, 3.0, 0.1, 1e6, 123456.5, 1e-5, 1e308, 9223372036854775808.0)
KEYS = ("a", "env", "team", "é")
PATTERNS = ("", "a", "^a", "b$", "^(a+)+$", "[0-9]", "eu-.*", ".", "é|€")
MOMENTS = (
    "1970-01-01T00:00:00Z",
    "2009-02-13T23:31:30.5Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
)
SPANS = ("0s", "1s", "-1.5s", "1h30m", "100ms", "1us", "8000000000s", "-9223372036s")
NUMBERS_AS_TEXT = (
    "1",
    "-7",
    "+3",
    " 5 ",
    "1.5",
    "x",
    "",
    "9223372036854775808",
    "1e3",
    "inf",
    "0x1",
)
BOOLS_AS_TEXT = ("true", "TRUE", "t", "1", "false", "f", "0", "tRuE", "")
MIXED = ((1, "a", 1.0), ("a", 2), (None, 1), (True, "true"), (1.5, 1), (["a"], "a"))


class Choices(Protocol):
    """Where randomness comes from."""

    def choice(self, options: Sequence[Any]) -> Any: ...


class Drawn:
    """Choices of hypothesis, which can shrink them."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw

    def choice(self, options: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(options))


class Condition(NamedTuple):
    """CEL and what it means. `run` raises Failed where there is no value."""

    text: str
    run: Callable[[Env], object]


def literal(value: object) -> str:
    """`value` as CEL writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"({value!r})" if repr(value).startswith("-") else repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
        case _:
            raise TypeError(value)


def fact_values(choices: Choices, types: Mapping[str, str]) -> Env:
    """A value for each fact; types as in facts.yaml."""
    return {name: _value(choices, kind) for name, kind in types.items()}


def over_declared_facts(choices: Choices) -> "Generator":
    return Generator(choices, {name: fact.type.value for name, fact in declared_facts().items()})


def _value(choices: Choices, kind: str) -> object:
    match kind:
        case "string":
            return choices.choice(STRINGS)
        case "int":
            return choices.choice(INTS)
        case "double":
            return choices.choice(DOUBLES)
        case "bool":
            return choices.choice((False, True))
        case "list(string)":
            return [choices.choice(STRINGS) for _ in range(choices.choice((0, 1, 2, 3)))]
        case "list(int)":
            return [choices.choice(INTS) for _ in range(choices.choice((0, 1, 2, 3)))]
        case "map(string,string)" | "map(string,int)":
            item = kind.partition(",")[2].removesuffix(")")
            return {key: _value(choices, item) for key in KEYS[: choices.choice((0, 1, 2, 3))]}
        case _:
            raise TypeError(kind)


ORDERED = ("int", "double", "string", "bool", "timestamp", "duration")
COMPARED = (*ORDERED, "list(string)", "map(string,string)")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


class Generator:
    """Makes conditions over facts of `types`."""

    def __init__(self, choices: Choices, types: Mapping[str, str]) -> None:
        self._choices = choices
        self._facts: dict[str, list[str]] = {}
        for name, kind in types.items():
            self._facts.setdefault(kind, []).append(name)
        # Items of the macros around: name and type, the innermost last.
        self._items: list[tuple[str, str]] = []

    def condition(self, depth: int = 4) -> Condition:
        return self.of("bool", depth)

    def of(self, kind: str, depth: int) -> Condition:
        """An expression of type `kind`, at most `depth` operators deep."""
        leaves = [self._constant]
        if kind in self._facts:
            leaves += [self._fact] * 3
        if any(each == kind for _, each in self._items):
            leaves += [self._item] * 3
        if depth <= 0 or self._pick(4) == 0:
            return self._choices.choice(leaves)(kind)
        return self._choices.choice(_MAKERS[kind])(self, kind, depth - 1)

    def _pick(self, below: int) -> int:
        number: int = self._choices.choice(range(below))
        return number

    def _fact(self, kind: str) -> Condition:
        name = self._choices.choice(self._facts[kind])
        return Condition(name, lambda env: env[name])

    def _item(self, kind: str) -> Condition:
        name = self._choices.choice([name for name, each in self._items if each == kind])
        return Condition(name, lambda env: env[name])

    def _constant(self, kind: str) -> Condition:
        if kind in ("timestamp", "duration"):
            return self._moment(kind)
        if kind.startswith("map"):
            found = _value(self._choices, kind)
            assert isinstance(found, dict)
            pairs = ", ".join(f"{literal(key)}: {literal(item)}" for key, item in found.items())
            # An empty map has no type of its own: one that is removed again has.
            text = (
                "{" + pairs + "}"
                if found
                else f'{{"": {literal(_value(self._choices, kind[11:-1]))}}}'
            )
            value: object = found or {"": _parsed(text)}
            return Condition(text, lambda env: value)
        value = _value(self._choices, kind)
        if (
            value == []
        ):  # `[]` has no type of its own, and cel-cpp guesses one for `[].map(x, x + x)`
            item = literal(_value(self._choices, kind[5:-1]))
            return Condition(f"[{item}].filter(e, false)", lambda env: value)
        return Condition(literal(value), lambda env: value)

    def _moment(self, kind: str) -> Condition:
        text = self._choices.choice(MOMENTS if kind == "timestamp" else SPANS)
        value = _moment_of(text) if kind == "timestamp" else _span_of(text)
        return Condition(f"{kind}({literal(text)})", lambda env: value)

    # Makers: each gives an expression of `kind` whose parts are at most `depth` deep.

    def connective(self, kind: str, depth: int) -> Condition:
        parts = [self.of("bool", depth) for _ in range(self._choices.choice((2, 2, 3)))]
        decisive = self._choices.choice((False, True))
        text = " || " if decisive else " && "
        return Condition(
            "(" + text.join(part.text for part in parts) + ")",
            lambda env: twin.conjunction(
                [lambda part=part: part.run(env) for part in parts], decisive=decisive
            ),
        )

    def negation(self, kind: str, depth: int) -> Condition:
        part = self.of("bool", depth)
        return Condition(f"!({part.text})", lambda env: not twin.truth(part.run(env)))

    def comparison(self, kind: str, depth: int) -> Condition:
        of = self._choices.choice(COMPARED)
        op = self._choices.choice(COMPARISONS if of in ORDERED else COMPARISONS[:2])
        left, right = self.of(of, depth), self.of(of, depth)
        return Condition(
            f"({left.text} {op} {right.text})",
            lambda env: twin.compare(op, left.run(env), right.run(env)),
        )

    def membership(self, kind: str, depth: int) -> Condition:
        of = self._choices.choice(("string", "int"))
        container = f"list({of})"
        if of == "string" and self._pick(3) == 0:
            container = "map(string,string)"
        item, within = self.of(of, depth), self.of(container, depth)

        def run(env: Env) -> object:
            found = item.run(env)
            return twin.contains(within.run(env), found)

        return Condition(f"({item.text} in {within.text})", run)

    def presence(self, kind: str, depth: int) -> Condition:
        within = self.of("map(string,string)", depth)
        key = self._choices.choice(KEYS[:3])
        return Condition(
            f"has({within.text}.{key})", lambda env: twin.contains(within.run(env), key)
        )

    def text_question(self, kind: str, depth: int) -> Condition:
        function = self._choices.choice(("startsWith", "endsWith", "contains"))
        ask = {
            "startsWith": str.startswith,
            "endsWith": str.endswith,
            "contains": str.__contains__,
        }[function]
        text, part = self.of("string", depth), self.of("string", depth)
        return Condition(
            f"{text.text}.{function}({part.text})",
            lambda env: ask(text.run(env), part.run(env)),  # type: ignore[operator]
        )

    def match(self, kind: str, depth: int) -> Condition:
        text, pattern = self.of("string", depth), self._choices.choice(PATTERNS)
        found = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
        return Condition(
            f"{text.text}.matches({literal(pattern)})",
            lambda env: found.search(text.run(env)) is not None,  # type: ignore[arg-type]
        )

    def quantifier(self, kind: str, depth: int) -> Condition:
        macro = self._choices.choice(("all", "exists", "exists_one"))
        of = self._choices.choice(("string", "int"))
        over = self.of(f"list({of})", depth)
        name, test = self._with_item(of, lambda: self.of("bool", depth))
        return Condition(
            f"{over.text}.{macro}({name}, {test.text})",
            lambda env: _quantified(macro, over, name, test, env),
        )

    def mixed(self, kind: str, depth: int) -> Condition:
        """A macro over a list of several types, whose items are compared with one of them."""
        macro = self._choices.choice(("all", "exists", "exists_one"))
        items = list(self._choices.choice(MIXED))
        over = Condition(literal(items), lambda env: items)
        op = self._choices.choice(COMPARISONS[:2])
        other = self.of(self._choices.choice(("int", "string", "double")), depth)
        name = f"m{len(self._items)}"
        test = Condition(
            f"{name} {op} {other.text}", lambda env: twin.compare(op, env[name], other.run(env))
        )
        return Condition(
            f"{over.text}.{macro}({name}, {test.text})",
            lambda env: _quantified(macro, over, name, test, env),
        )

    def choice(self, kind: str, depth: int) -> Condition:
        condition, then, otherwise = (
            self.of("bool", depth),
            self.of(kind, depth),
            self.of(kind, depth),
        )
        return Condition(
            f"({condition.text} ? {then.text} : {otherwise.text})",
            lambda env: (then if twin.truth(condition.run(env)) else otherwise).run(env),
        )

    def arithmetic(self, kind: str, depth: int) -> Condition:
        ops = {"int": "+-*/%", "double": "+-*/"}.get(kind, "+")
        op = self._choices.choice(ops)
        left, right = self.of(kind, depth), self.of(kind, depth)
        return Condition(
            f"({left.text} {op} {right.text})",
            lambda env: twin.arithmetic(op, left.run(env), right.run(env)),
        )

    def negative(self, kind: str, depth: int) -> Condition:
        part = self.of(kind, depth)
        return Condition(f"-({part.text})", lambda env: twin.negative(part.run(env)))

    def time(self, kind: str, depth: int) -> Condition:
        shapes = {
            "timestamp": (
                ("timestamp", "+", "duration"),
                ("duration", "+", "timestamp"),
                ("timestamp", "-", "duration"),
            ),
            "duration": (
                ("timestamp", "-", "timestamp"),
                ("duration", "+", "duration"),
                ("duration", "-", "duration"),
            ),
        }
        of_left, op, of_right = self._choices.choice(shapes[kind])
        left, right = self.of(of_left, depth), self.of(of_right, depth)
        return Condition(
            f"({left.text} {op} {right.text})",
            lambda env: twin.arithmetic(op, left.run(env), right.run(env)),
        )

    def size(self, kind: str, depth: int) -> Condition:
        of = self._choices.choice(("string", "list(string)", "map(string,string)"))
        part = self.of(of, depth)
        text = self._choices.choice((f"size({part.text})", f"{part.text}.size()"))
        return Condition(text, lambda env: twin.size(part.run(env)))

    def conversion(self, kind: str, depth: int) -> Condition:
        sources = {
            "bool": ("bool", "text"),
            "int": ("int", "double", "text", "timestamp"),
            "double": ("int", "double", "text"),
            "string": ("int", "double", "bool", "string", "timestamp", "duration"),
        }[kind]
        source = self._choices.choice(sources)
        if source == "text":
            value = self._choices.choice(BOOLS_AS_TEXT if kind == "bool" else NUMBERS_AS_TEXT[:-1])
            part = Condition(literal(value), lambda env: value)
        else:
            part = self.of(source, depth)
        convert: Callable[[object], object] = getattr(twin, f"to_{kind}")
        return Condition(f"{kind}({part.text})", lambda env: convert(part.run(env)))

    def index(self, kind: str, depth: int) -> Condition:
        if kind == "string" and self._pick(2):
            within = self.of("map(string,string)", depth)
            key = self._choices.choice(KEYS[:3])
            text = self._choices.choice((f"{within.text}[{literal(key)}]", f"{within.text}.{key}"))
            return Condition(text, lambda env: twin.index(within.run(env), key))
        within, at = self.of(f"list({kind})", depth), self.of("int", depth)
        return Condition(
            f"{within.text}[{at.text}]", lambda env: twin.index(within.run(env), at.run(env))
        )

    def items(self, kind: str, depth: int) -> Condition:
        parts = [self.of(kind[5:-1], depth) for _ in range(self._choices.choice((1, 2, 3)))]
        return Condition(
            "[" + ", ".join(part.text for part in parts) + "]",
            lambda env: [part.run(env) for part in parts],
        )

    def filtered(self, kind: str, depth: int) -> Condition:
        over = self.of(kind, depth)
        name, test = self._with_item(kind[5:-1], lambda: self.of("bool", depth))
        return Condition(
            f"{over.text}.filter({name}, {test.text})",
            lambda env: [
                item
                for item in over.run(env)  # type: ignore[attr-defined]
                if twin.truth(test.run({**env, name: item}))
            ],
        )

    def mapped(self, kind: str, depth: int) -> Condition:
        of = self._choices.choice(("string", "int"))
        over = self.of(f"list({of})", depth)
        name, value = self._with_item(of, lambda: self.of(kind[5:-1], depth))
        return Condition(
            f"{over.text}.map({name}, {value.text})",
            lambda env: [
                value.run({**env, name: item})
                for item in over.run(env)  # type: ignore[attr-defined]
            ],
        )

    def _with_item(self, kind: str, make: Callable[[], Condition]) -> tuple[str, Condition]:
        """What `make` makes inside a macro, and the name of the macro's item."""
        name = self._choices.choice((f"x{len(self._items)}", "x"))
        outside = self._items
        self._items = [*(item for item in outside if item[0] != name), (name, kind)]
        try:
            return name, make()
        finally:
            self._items = outside


G = Generator
_MAKERS: Mapping[str, Sequence[Callable[[Generator, str, int], Condition]]] = {
    "bool": (
        *(G.connective,) * 4,
        *(G.comparison,) * 4,
        *(G.membership,) * 3,
        *(G.negation, G.presence, G.text_question, G.match, G.mixed, G.choice, G.conversion),
        *(G.quantifier,) * 2,
    ),
    "int": (*(G.arithmetic,) * 3, G.negative, G.size, G.conversion, G.index, G.choice),
    "double": (*(G.arithmetic,) * 3, G.negative, G.conversion, G.choice),
    "string": (G.arithmetic, G.conversion, G.index, G.choice),
    "list(string)": (G.arithmetic, *(G.items,) * 2, G.filtered, G.mapped, G.choice),
    "list(int)": (G.arithmetic, *(G.items,) * 2, G.filtered, G.mapped, G.choice),
    "map(string,string)": (G.choice,),
    "timestamp": (G.time, G.choice),
    "duration": (G.time, G.choice),
}


def _quantified(macro: str, over: Condition, name: str, test: Condition, env: Env) -> bool:
    items: Sequence[object] = over.run(env)  # type: ignore[assignment]
    parts = [lambda item=item: test.run({**env, name: item}) for item in items]
    if macro == "exists_one":
        return twin.one_of(parts)
    return twin.conjunction(parts, decisive=macro == "exists")


def _parsed(text: str) -> object:
    found: object = json.loads(text)[""]
    return found


def _moment_of(text: str) -> twin.Moment:
    from datetime import datetime

    stem, _, decimals = text.removesuffix("Z").partition(".")
    seconds = int(
        (
            datetime.fromisoformat(f"{stem}+00:00")
            - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        ).total_seconds()
    )
    return twin.Moment(seconds * twin.S + int((decimals or "0").ljust(9, "0")))


def _span_of(text: str) -> twin.Span:
    units = {"h": 3600 * twin.S, "m": 60 * twin.S, "s": twin.S, "ms": 10**6, "us": 1000, "ns": 1}
    parts = re.findall(r"([0-9.]+)([a-z]+)", text)
    total = sum(round(float(number) * units[unit]) for number, unit in parts)
    return twin.Span(-total if text.startswith("-") else total)


def seeded(seed: int) -> Choices:
    """Choices of a seed, without hypothesis: faster, and the same everywhere."""
    return Random(seed)
