"""Type-checked CEL as a tree of few kinds of node: what the control plane makes and the data plane runs.

A tree says exactly what an expression does: operators by meaning, facts by name, constants typed,
macros as `Each`, document variables and enum constants already put in. It evaluates nothing; `Program`
in vm.pyx does. Trees are values: equal trees mean the same, so they can be keys of a dict.

    && || n-ary and flat    And, Or      errors are absorbed where another operand decides
    !                       Not
    ?:                      If
    == != < <= > >=         Compare
    in                      In           list: equal to an item; map: has the key
    a[k], a.k               Index        list item or value of a map; the same node for both spellings
    has(a.k)                Has
    + - * / %, unary -      Arithmetic   also joins strings and lists, moves timestamps
    functions, conversions  Call
    [..], {..}              ListOf, MapOf
    all exists exists_one   Each         over the items of a list or the keys of a map
    filter map
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from harmost.core.limits import CEL_DEPTH_MAX, CEL_IR_BYTES_MAX, CEL_LOCALS_MAX, CEL_NODES_MAX

__all__ = [
    "And",
    "Arithmetic",
    "Call",
    "Compare",
    "Const",
    "Each",
    "Fact",
    "Function",
    "Has",
    "If",
    "In",
    "Index",
    "IrRefused",
    "Kind",
    "ListOf",
    "Local",
    "MapOf",
    "Node",
    "Not",
    "Or",
    "check",
    "children",
    "decode",
    "encode",
    "facts_of",
    "walk",
]

# A change of any node's meaning or fields makes a new version; an older reader then refuses.
VERSION = 1

Kind: TypeAlias = Literal["null", "bool", "int", "double", "string"]
Comparison: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]
Operator: TypeAlias = Literal["+", "-", "*", "/", "%"]
Macro: TypeAlias = Literal["all", "exists", "exists_one", "filter", "map"]
Function: TypeAlias = Literal[
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "bool",
    "int",
    "double",
    "string",
    "timestamp",
    "duration",
]

# How many arguments each function has, the receiver included.
_OF_TWO = ("startsWith", "endsWith", "contains", "matches")
ARITY: dict[str, int] = {name: 1 + (name in _OF_TWO) for name in get_args(Function)}
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class IrRefused(Exception):
    """Bytes that are no tree of this version, or a tree beyond its bounds."""


class _Base(msgspec.Struct, frozen=True, array_like=True, tag_field="node", gc=False):
    """What all nodes are: in bytes an array of the tag and the fields.

    A tree has no cycles, so none of its many nodes has to be visited by the garbage collector.
    """


class Const(_Base, frozen=True, tag="c"):
    """A constant. `kind` tells 1 from 1.0 and true, which Python takes for equal."""

    kind: Kind
    value: bool | int | float | str | None


class Fact(_Base, frozen=True, tag="f"):
    """The fact `name` of the call or candidate; `type` is written as in facts.yaml."""

    name: str
    type: str


class Local(_Base, frozen=True, tag="l"):
    """The item of an `Each` around it: 0 is the innermost, 1 the one around that."""

    index: int


class And(_Base, frozen=True, tag="&"):
    """False if any of `args` (two or more, none an `And`) is false, whatever the others say."""

    args: tuple["Node", ...]


class Or(_Base, frozen=True, tag="|"):
    """True if any of `args` (two or more, none an `Or`) is true, whatever the others say."""

    args: tuple["Node", ...]


class Not(_Base, frozen=True, tag="!"):
    """The opposite of a bool."""

    arg: "Node"


class If(_Base, frozen=True, tag="?"):
    """One branch; the other is not evaluated. `condition` is not absorbed if it is an error."""

    condition: "Node"
    then: "Node"
    otherwise: "Node"


class Compare(_Base, frozen=True, tag="="):
    """Order or equality. Different types are unequal, never in order; int and double compare exactly."""

    op: Comparison
    left: "Node"
    right: "Node"


class In(_Base, frozen=True, tag="i"):
    """Whether `item` equals an item of a list, or is a key of a map."""

    item: "Node"
    container: "Node"


class Index(_Base, frozen=True, tag="x"):
    """The item of a list or value of a map; an error if there is none."""

    container: "Node"
    key: "Node"


class Has(_Base, frozen=True, tag="h"):
    """Whether a map has the string `key`."""

    container: "Node"
    key: str


class Arithmetic(_Base, frozen=True, tag="a"):
    """`op` of two `args`; `-` of one. Integers that overflow and division by zero are errors."""

    op: Operator
    args: tuple["Node", ...]


class Call(_Base, frozen=True, tag="k"):
    """A function, the receiver first. The second argument of `matches` is a string constant."""

    function: Function
    args: tuple["Node", ...]


class ListOf(_Base, frozen=True, tag="["):
    """A list literal."""

    items: tuple["Node", ...]


class MapOf(_Base, frozen=True, tag="{"):
    """A map literal: `keys` and `values` in the same order. A repeated key is an error."""

    keys: tuple["Node", ...]
    values: tuple["Node", ...]


class Each(_Base, frozen=True, tag="e"):
    """A macro over `over`. `test` gives a bool for each item; `value`, of `map` only, what it becomes.

    `map` without a condition has the constant true as its `test`.
    """

    macro: Macro
    over: "Node"
    test: "Node"
    value: "Node | None" = None


Node: TypeAlias = (
    Const
    | Fact
    | Local
    | And
    | Or
    | Not
    | If
    | Compare
    | In
    | Index
    | Has
    | Arithmetic
    | Call
    | ListOf
    | MapOf
    | Each
)


# The nodes directly below a node, by its type: walked often, and `match` takes three times as long.
_BELOW: dict[type, Callable[[Any], tuple["Node", ...]]] = {
    **{kind: lambda node: () for kind in (Const, Fact, Local)},
    **{kind: lambda node: node.args for kind in (And, Or, Arithmetic, Call)},
    Not: lambda node: (node.arg,),
    Has: lambda node: (node.container,),
    If: lambda node: (node.condition, node.then, node.otherwise),
    Compare: lambda node: (node.left, node.right),
    In: lambda node: (node.item, node.container),
    Index: lambda node: (node.container, node.key),
    ListOf: lambda node: node.items,
    # Not strict: `check` says what is wrong with a map that is short of one.
    MapOf: lambda node: tuple(chain.from_iterable(zip(node.keys, node.values, strict=False))),
    Each: lambda node: (
        (node.over, node.test) if node.value is None else (node.over, node.test, node.value)
    ),
}


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`, in the order of the source."""
    return _BELOW[type(node)](node)


def walk(node: Node) -> Iterator[Node]:
    """`node` and every node below it, the outer before the inner. O(nodes)."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(reversed(children(here)))


def facts_of(node: Node) -> frozenset[str]:
    """Names of the facts that `node` asks about."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Fact))


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[int, Node])


def encode(node: Node) -> bytes:
    """`node` as bytes: msgpack of the version and the tree. Equal trees give equal bytes."""
    return _ENCODER.encode((VERSION, node))


def decode(data: bytes) -> Node:
    """The tree in `data`, checked; raises IrRefused. Hostile bytes do no harm."""
    if len(data) > CEL_IR_BYTES_MAX:
        raise IrRefused(f"compiled expression has more than {CEL_IR_BYTES_MAX} bytes")
    try:
        version, node = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise IrRefused(f"compiled expression is unreadable: {error}") from None
    if version != VERSION:
        raise IrRefused(
            f"compiled expression is of version {version}, this reads {VERSION}: "
            "run the same version everywhere"
        )
    check(node)
    return node


def check(node: Node) -> int:
    """How many nodes there are in `node`; raises IrRefused unless the front could have made it.

    The bounds are those of limits.py. About 0.5 us a node.
    """
    count = 0
    waiting = [(node, 1, 0)]
    while waiting:
        here, depth, bound = waiting.pop()
        count += 1
        if count > CEL_NODES_MAX:
            raise IrRefused(f"expression has more than {CEL_NODES_MAX} parts: part it into several")
        if depth > CEL_DEPTH_MAX or bound > CEL_LOCALS_MAX:
            raise IrRefused("expression is nested too deeply: part it into several")
        if problem := _problem(here, bound):
            raise IrRefused(f"compiled expression is malformed: {problem}")
        below = children(here)
        if type(here) is Each:
            waiting.append((below[0], depth + 1, bound))
            below, bound = below[1:], bound + 1
        waiting += [(part, depth + 1, bound) for part in below]
    return count


_PYTHON_KINDS: dict[str, type] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
}


def _problem(node: Node, bound: int) -> str:
    """What is wrong with `node` itself, inside `bound` macros."""
    found = _PROBLEMS.get(type(node))
    return found(node, bound) if found else ""


def _of_const(node: Const, bound: int) -> str:
    if type(node.value) is not _PYTHON_KINDS[node.kind]:
        return f"a constant is no {node.kind}"
    if type(node.value) is int and not _INT_MIN <= node.value <= _INT_MAX:
        return "an integer has more than 64 bits"
    return ""


def _of_local(node: Local, bound: int) -> str:
    return "" if 0 <= node.index < bound else "an item is used outside its macro"


def _of_connective(node: And | Or, bound: int) -> str:
    return "" if len(node.args) > 1 else "a connective has fewer than two operands"


def _of_arithmetic(node: Arithmetic, bound: int) -> str:
    if len(node.args) == 2 or (len(node.args) == 1 and node.op == "-"):
        return ""
    return f"`{node.op}` has {len(node.args)} operands"


def _of_call(node: Call, bound: int) -> str:
    if len(node.args) != ARITY[node.function]:
        return f"`{node.function}` has {len(node.args)} arguments"
    pattern = node.args[-1]
    is_text = isinstance(pattern, Const) and pattern.kind == "string"
    return "a pattern is no string constant" if node.function == "matches" and not is_text else ""


def _of_map(node: MapOf, bound: int) -> str:
    return "" if len(node.keys) == len(node.values) else "a map has keys without values"


def _of_macro(node: Each, bound: int) -> str:
    if (node.macro == "map") == (node.value is not None):
        return ""
    return f"`{node.macro}` has the parts of another macro"


_PROBLEMS: dict[type, Callable[[Any, int], str]] = {
    Const: _of_const,
    Local: _of_local,
    And: _of_connective,
    Or: _of_connective,
    Arithmetic: _of_arithmetic,
    Call: _of_call,
    MapOf: _of_map,
    Each: _of_macro,
}
