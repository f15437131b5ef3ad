"""Holds a node against a typed struct and says all that does not fit, each at its own place.

msgspec itself stops at the first misfit and names a path; a person with an editor needs all of
them, with lines. After `check_shape` says yes, `msgspec.convert(plain(node), kind)` cannot fail.
"""

import difflib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from harmost.core.resources.nodes import MappingNode, Node, Place, ScalarNode, SequenceNode

__all__ = ["Report", "check_fields", "check_shape", "plain", "quoted"]

Report: TypeAlias = Callable[[Place, str], None]

INT_MAX = 2**63 - 1
QUOTED_CHARS_MAX = 80


def check_shape(node: Node, kind: type[msgspec.Struct], path: str, report: Report) -> bool:
    """Whether `node` can be converted to `kind`; reports every reason why not. O(nodes)."""
    return _check(node, _type_info(kind), path, report)


def check_fields(
    node: MappingNode, known: Sequence[str], required: Sequence[str], report: Report, path: str
) -> bool:
    """Whether `node` has only `known` fields and all `required` ones."""
    sound = True
    prefix = f"{path}." if path else ""
    for name, place in node.keys.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            report(place, f"`{prefix}{quoted(name)[1:-1]}` is not a field: {hint}")
            sound = False
    for name in required:
        if name not in node.keys:
            report(node.place, f"`{prefix}{name}` is missing: add it")
            sound = False
    return sound


def plain(node: Node) -> Any:
    """What `node` says, as builtins."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.values.items()}


def quoted(text: str) -> str:
    """`text` in backticks on one line, cut where it is long."""
    line = text.replace("\n", " ").replace("`", "'")
    return f"`{line if len(line) <= QUOTED_CHARS_MAX else line[:QUOTED_CHARS_MAX] + '…'}`"


@cache
def _type_info(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def _check(node: Node, wanted: inspect.Type, path: str, report: Report) -> bool:
    match wanted:
        case inspect.StructType():
            return _check_struct(node, wanted, path, report)
        case inspect.VarTupleType():
            return _check_items(node, wanted, path, report)
        case inspect.DictType():
            return _check_dict(node, wanted, path, report)
        case inspect.UnionType():
            return _check_union(node, wanted, path, report)
        case inspect.AnyType():
            return True
        case _:
            return _check_scalar(node, wanted, path, report)


def _check_struct(node: Node, wanted: inspect.StructType, path: str, report: Report) -> bool:
    if not isinstance(node, MappingNode):
        report(node.place, f"`{path}` must be a mapping of fields, not {_what(node)}")
        return False
    fields = {field.encode_name: field for field in wanted.fields}
    required = [name for name, field in fields.items() if field.required]
    sound = check_fields(node, tuple(fields), required, report, path)
    for name, value in node.values.items():
        if name in fields:
            sound &= _check(value, fields[name].type, f"{path}.{name}", report)
    return sound


def _check_items(node: Node, wanted: inspect.VarTupleType, path: str, report: Report) -> bool:
    if not isinstance(node, SequenceNode):
        report(node.place, f"`{path}` must be a list, not {_what(node)}: write `[…]`")
        return False
    sound = True
    for index, item in enumerate(node.items):
        sound &= _check(item, wanted.item_type, f"{path}[{index}]", report)
    return sound


def _check_dict(node: Node, wanted: inspect.DictType, path: str, report: Report) -> bool:
    if not isinstance(node, MappingNode):
        report(node.place, f"`{path}` must be a mapping, not {_what(node)}: write `{{…}}`")
        return False
    sound = True
    for name, value in node.values.items():
        sound &= _check(value, wanted.value_type, f"{path}.{quoted(name)[1:-1]}", report)
    return sound


def _check_union(node: Node, wanted: inspect.UnionType, path: str, report: Report) -> bool:
    # Every union of the kinds is one type or none, or types of which each has a form of its own:
    # at most one mapping, one list, and scalars.
    others = [kind for kind in wanted.types if not isinstance(kind, inspect.NoneType)]
    if len(others) < len(wanted.types) and isinstance(node, ScalarNode) and node.value is None:
        return True
    if len(others) == 1:
        return _check(node, others[0], path, report)
    formed = next((kind for kind in others if _has_form(node, kind)), None)
    if formed is not None:
        return _check(node, formed, path, report)
    scalars = [kind for kind in others if not _is_form(kind)]
    problems = [_scalar_problem(node, kind) for kind in scalars]
    if all(problems):
        report(node.place, f"`{path}` {', and '.join(problems)}")
    return not all(problems)


def _is_form(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.StructType | inspect.VarTupleType)


def _has_form(node: Node, kind: inspect.Type) -> bool:
    if isinstance(node, MappingNode):
        return isinstance(kind, inspect.StructType)
    return isinstance(node, SequenceNode) and isinstance(kind, inspect.VarTupleType)


def _check_scalar(node: Node, wanted: inspect.Type, path: str, report: Report) -> bool:
    problem = _scalar_problem(node, wanted)
    if problem:
        report(node.place, f"`{path}` {problem}")
    return not problem


def _scalar_problem(node: Node, wanted: inspect.Type) -> str:
    value = node.value if isinstance(node, ScalarNode) else None
    match wanted:
        case inspect.StrType():
            if isinstance(value, str):
                return ""
            # The value is not repeated: where text belongs, a secret may stand.
            written = isinstance(node, ScalarNode) and node.text
            what = "a bare number, true, false or null" if written else _what(node)
            return f"must be text, not {what}{': put it in quotes' if written else ''}"
        case inspect.IntType():
            if isinstance(value, bool) or not isinstance(value, int):
                return f"must be a whole number, not {_what(node)}"
            return "" if abs(value) <= INT_MAX else f"is beyond 64 bits: write at most {INT_MAX}"
        case inspect.BoolType():
            return "" if isinstance(value, bool) else f"must be true or false, not {_what(node)}"
        case inspect.LiteralType():
            words = [str(word) for word in wanted.values]
            return "" if value in words else _literal_problem(node, words)
        case _:
            raise TypeError(f"no check for {wanted}: add one beside the others")


def _literal_problem(node: Node, words: list[str]) -> str:
    text = node.text if isinstance(node, ScalarNode) else ""
    near = difflib.get_close_matches(text, words, n=1, cutoff=0.6)
    hint = f"did you mean `{near[0]}`?" if near else f"write one of {', '.join(words)}"
    return f"cannot be {_what(node)}: {hint}"


def _what(node: Node) -> str:
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    return quoted(node.text) if node.text or node.style else "nothing"
