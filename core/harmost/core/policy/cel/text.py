"""A tree of compiled CEL as CEL text again, as short as it can be written. For people and for tests.

Reading the text gives the same tree, except that items of macros have new names.
"""

import json
import math

from harmost.core.policy.cel.ir import (
    And,
    Arithmetic,
    Call,
    Compare,
    Const,
    Each,
    Fact,
    Has,
    If,
    In,
    Index,
    ListOf,
    Local,
    MapOf,
    Node,
    Not,
    Or,
)

__all__ = ["text_of"]

# How tightly each kind binds; an operand that binds less stands in brackets.
_IF, _OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(8)
_ITEMS = "cdefghij"  # names of macros' items, by depth
_RECEIVERS = ("startsWith", "endsWith", "contains", "matches")


def text_of(node: Node) -> str:
    """`node` as CEL. O(nodes x depth)."""
    return _text(node, _IF, 0)


def _text(node: Node, within: int, depth: int) -> str:
    text, binds = _written(node, depth)
    return text if binds >= within else f"({text})"


def _written(node: Node, depth: int) -> tuple[str, int]:
    """The text of `node`, and how tightly it binds."""
    match node:
        case Const():
            return _constant(node)
        case Fact(name, _):
            return name, _MEMBER
        case Local(index):
            return _item(depth - 1 - index), _MEMBER
        case And(args):
            return " && ".join(_text(arg, _AND + 1, depth) for arg in args), _AND
        case Or(args):
            return " || ".join(_text(arg, _OR + 1, depth) for arg in args), _OR
        case Not(arg):
            return f"!{_text(arg, _UNARY, depth)}", _UNARY
        case If(condition, then, otherwise):
            parts = (_text(condition, _OR, depth), _text(then, _OR, depth))
            return f"{parts[0]} ? {parts[1]} : {_text(otherwise, _IF, depth)}", _IF
        case Compare(op, left, right):
            sides = _text(left, _SUM, depth), _text(right, _SUM, depth)
            return f"{sides[0]} {op} {sides[1]}", _RELATION
        case In(item, container):
            sides = _text(item, _SUM, depth), _text(container, _SUM, depth)
            return f"{sides[0]} in {sides[1]}", _RELATION
        case Arithmetic(op, args):
            return _arithmetic(op, args, depth)
        case _:
            return _member(node, depth), _MEMBER


def _member(node: Node, depth: int) -> str:
    match node:
        case Index(container, key):
            return f"{_text(container, _MEMBER, depth)}[{_text(key, _IF, depth)}]"
        case Has(container, key):
            return f"has({_text(container, _MEMBER, depth)}.{key})"
        case Call(function, args):
            texts = [_text(arg, _IF, depth) for arg in args]
            if function in _RECEIVERS:
                return f"{_text(args[0], _MEMBER, depth)}.{function}({', '.join(texts[1:])})"
            return f"{function}({', '.join(texts)})"
        case ListOf(items):
            return f"[{', '.join(_text(item, _IF, depth) for item in items)}]"
        case MapOf(keys, values):
            pairs = zip(keys, values, strict=True)
            texts = [
                f"{_text(key, _IF, depth)}: {_text(value, _IF, depth)}" for key, value in pairs
            ]
            return f"{{{', '.join(texts)}}}"
        case Each(macro, over, test, value):
            said = [_item(depth)]
            if value is None or test != Const("bool", True):
                said.append(_text(test, _IF, depth + 1))
            if value is not None:
                said.append(_text(value, _IF, depth + 1))
            return f"{_text(over, _MEMBER, depth)}.{macro}({', '.join(said)})"
        case _:
            raise TypeError(f"no text for {node}: add it beside the others")


def _arithmetic(op: str, args: tuple[Node, ...], depth: int) -> tuple[str, int]:
    if len(args) == 1:
        return f"-{_text(args[0], _UNARY + 1, depth)}", _UNARY
    binds = _SUM if op in "+-" else _PRODUCT
    return f"{_text(args[0], binds, depth)} {op} {_text(args[1], binds + 1, depth)}", binds


def _constant(node: Const) -> tuple[str, int]:
    value = node.value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False), _MEMBER
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value], _MEMBER
    if isinstance(value, float) and not math.isfinite(value):
        return f'double("{value}")', _MEMBER
    return repr(value), _UNARY if value < 0 else _MEMBER


def _item(depth: int) -> str:
    return _ITEMS[depth % len(_ITEMS)]
