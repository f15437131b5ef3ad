"""The JSON schema of a step's output: compiled once, then answers are parsed by it.

A subset of JSON Schema, small enough that every field has one CEL type:

    object                  properties, required, additionalProperties (true or false)
    string                  enum
    integer, number         enum, minimum, maximum
    boolean
    array                   items: any of these but array

`title`, `description` and `$schema` are read over. The schema itself must be an object.

Source: JSON Schema 2020-12, validation vocabulary.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, get_args

import msgspec

from harmost.core.errors import StepFailed

__all__ = [
    "OUTPUT_CHARS_MAX",
    "SCHEMA_DEPTH_MAX",
    "SCHEMA_FIELDS_MAX",
    "OutputSchema",
    "SchemaProblem",
    "SchemaRefused",
    "compile_schema",
    "is_object",
]

# Larger than the longest answer of 64,000 tokens that is sold.
OUTPUT_CHARS_MAX = 512 * 1024
SCHEMA_DEPTH_MAX = 8
SCHEMA_FIELDS_MAX = 256
# Integers of CEL, and so of outputs, have 64 bits.
_INT_MAX = 2**63 - 1
_PROBLEMS_SHOWN = 3

_Type: TypeAlias = Literal["object", "string", "integer", "number", "boolean", "array"]

_TYPES: tuple[_Type, ...] = get_args(_Type)

_KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "string": frozenset({"enum"}),
    "integer": frozenset({"enum", "minimum", "maximum"}),
    "number": frozenset({"enum", "minimum", "maximum"}),
    "boolean": frozenset(),
    "array": frozenset({"items"}),
}
_READ_OVER = frozenset({"type", "title", "description", "$schema"})
_CEL_TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "int",
    "number": "double",
    "boolean": "bool",
}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SchemaProblem(NamedTuple):
    """What is wrong with a schema, or with an output; `path` is like `$.properties.score`."""

    path: str
    message: str


class SchemaRefused(Exception):
    """A schema outside the subset; `problems` has at least one."""

    def __init__(self, problems: Sequence[SchemaProblem]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = tuple(problems)


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled schema. `open`: whether an object may have other properties."""

    type: _Type
    properties: Mapping[str, "_Node"] = {}
    required: tuple[str, ...] = ()
    open: bool = True
    items: "_Node | None" = None
    enum: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class OutputSchema:
    """What a step's answer must be.

    `cel_types` says, for every field that a later `when` can ask about, its dotted path and CEL type:
    {"score": "int", "mood.words": "list(string)"}. Lists of objects, and names that are no
    identifiers, are not among them. `json` is the schema as it was declared.
    """

    def __init__(self, node: _Node, json: str) -> None:
        self._node = node
        self.json = json
        self.cel_types: Mapping[str, str] = dict(_cel_types(node, ""))

    def parse(self, text: str) -> dict[str, Any]:
        """The output in `text`: one JSON object, perhaps in a ``` fence, that fits.

        Whole numbers such as 7.0 count as integers; a `number` is always a float. Raises StepFailed,
        which says what does not fit but never repeats the answer. O(length).
        """
        value = _decoded(text)
        problems: list[SchemaProblem] = []
        output: dict[str, Any] = _fitted(value, self._node, "$", problems)
        if problems:
            said = "; ".join(f"`{path}` {message}" for path, message in problems[:_PROBLEMS_SHOWN])
            raise StepFailed(f"answer does not fit the output schema: {said}")
        return output


def compile_schema(schema: Mapping[str, Any]) -> OutputSchema:
    """Compile `schema`; raises SchemaRefused with every problem and its path."""
    compiler = _Compiler()
    node = compiler.node(schema, "$", depth=1)
    if node.type != "object" and not compiler.problems:
        compiler.problems.append(SchemaProblem("$", "is no object: give it `type: object`"))
    if compiler.problems:
        raise SchemaRefused(compiler.problems)
    return OutputSchema(node, msgspec.json.encode(schema).decode())


class _Compiler:
    """Collects problems. What is wrong is compiled as an open object, which is never used."""

    def __init__(self) -> None:
        self.problems: list[SchemaProblem] = []
        self._fields = 0

    def node(self, schema: object, path: str, *, depth: int) -> _Node:
        kind = self._type(schema, path, depth)
        if kind is None or not is_object(schema):
            return _Node(type="object")
        for keyword in schema:
            if keyword not in _READ_OVER and keyword not in _KEYWORDS[kind]:
                known = ", ".join(f"`{name}`" for name in sorted(_KEYWORDS[kind])) or "none"
                self._refuse(f"{path}.{keyword}", f"is not read of type `{kind}`: {known} are")
        return _Node(
            type=kind,
            properties=self._properties(schema, path, depth) if kind == "object" else {},
            required=self._required(schema, path) if kind == "object" else (),
            open=self._open(schema, path),
            items=self._items(schema, path, depth) if kind == "array" else None,
            enum=self._enum(schema, path, kind),
            minimum=self._number(schema, path, "minimum"),
            maximum=self._number(schema, path, "maximum"),
        )

    def _refuse(self, path: str, message: str) -> None:
        self.problems.append(SchemaProblem(path, message))

    def _type(self, schema: object, path: str, depth: int) -> _Type | None:
        if not is_object(schema):
            self._refuse(path, "is no mapping: write `type: ...`")
            return None
        self._fields += 1
        if self._fields == SCHEMA_FIELDS_MAX + 1:
            self._refuse(path, f"is one field more than {SCHEMA_FIELDS_MAX}: ask for less")
        if self._fields > SCHEMA_FIELDS_MAX:
            return None
        if depth > SCHEMA_DEPTH_MAX:
            self._refuse(path, f"is nested deeper than {SCHEMA_DEPTH_MAX}: flatten it")
            return None
        for kind in _TYPES:
            if schema.get("type") == kind:
                return kind
        known = ", ".join(f"`{name}`" for name in _KEYWORDS)
        self._refuse(f"{path}.type", f"is none of {known}")
        return None

    def _properties(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, _Node]:
        properties = schema.get("properties", {})
        if not is_object(properties):
            self._refuse(f"{path}.properties", "is no mapping: name each property")
            return {}
        return {
            str(name): self.node(inner, f"{path}.properties.{name}", depth=depth + 1)
            for name, inner in properties.items()
        }

    def _required(self, schema: Mapping[str, Any], path: str) -> tuple[str, ...]:
        required = schema.get("required", [])
        if not _is_array(required) or not all(isinstance(name, str) for name in required):
            self._refuse(f"{path}.required", "is no list of names")
            return ()
        properties = schema.get("properties")
        for name in required:
            if not is_object(properties) or name not in properties:
                self._refuse(
                    f"{path}.required", f"names `{name}`, which is no property: declare it"
                )
        return tuple(required)

    def _open(self, schema: Mapping[str, Any], path: str) -> bool:
        additional = schema.get("additionalProperties", True)
        if not isinstance(additional, bool):
            self._refuse(f"{path}.additionalProperties", "is neither true nor false")
            return True
        return additional

    def _items(self, schema: Mapping[str, Any], path: str, depth: int) -> _Node:
        if "items" not in schema:
            self._refuse(path, "says nothing of its `items`: give them a type")
            return _Node(type="object")
        node = self.node(schema["items"], f"{path}.items", depth=depth + 1)
        if node.type == "array":
            self._refuse(f"{path}.items", "is an array in an array: put an object between")
        return node

    def _enum(self, schema: Mapping[str, Any], path: str, kind: _Type) -> tuple[Any, ...]:
        if "enum" not in schema or "enum" not in _KEYWORDS[kind]:
            return ()
        enum = schema["enum"]
        if not _is_array(enum) or not enum:
            self._refuse(f"{path}.enum", "is no list of values")
            return ()
        if any(_scalar(value, kind) is None for value in enum):
            self._refuse(f"{path}.enum", f"holds a value that is no {kind}")
        return tuple(enum)

    def _number(self, schema: Mapping[str, Any], path: str, keyword: str) -> float | None:
        bound = schema.get(keyword)
        if bound is None:
            return None
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            self._refuse(f"{path}.{keyword}", "is no number")
            return None
        return bound


def _cel_types(node: _Node, path: str) -> Iterator[tuple[str, str]]:
    for name, inner in node.properties.items():
        if not _IDENTIFIER.fullmatch(name):
            continue
        if inner.type == "object":
            yield from _cel_types(inner, f"{path}{name}.")
        elif inner.items is None:
            yield path + name, _CEL_TYPES[inner.type]
        elif inner.items.type in _CEL_TYPES:
            yield path + name, f"list({_CEL_TYPES[inner.items.type]})"


def _decoded(text: str) -> object:
    """The JSON value in `text`."""
    if len(text) > OUTPUT_CHARS_MAX:
        raise StepFailed(f"answer has more than {OUTPUT_CHARS_MAX} characters: ask for less")
    try:
        encoded = _unfenced(text).encode()
        return msgspec.json.decode(encoded)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise StepFailed(f"answer is not JSON: {str(error).lower()}") from None
    except RecursionError:
        raise StepFailed("answer is nested too deeply: ask for less") from None


def _unfenced(text: str) -> str:
    """`text` without white space and a ```json fence around it."""
    text = text.strip().lstrip("\ufeff")
    if not (text.startswith("```") and text.endswith("```") and "\n" in text):
        return text
    return text[text.index("\n") : -len("```")].strip()


def _fitted(value: object, node: _Node, path: str, problems: list[SchemaProblem]) -> Any:
    """`value` as `node` wants it, or anything and one more problem."""
    if node.type == "object":
        return _fitted_object(value, node, path, problems)
    if node.items is not None:
        if not _is_array(value):
            return _misfit(problems, path, "is no array")
        return [
            _fitted(item, node.items, f"{path}[{index}]", problems)
            for index, item in enumerate(value)
        ]
    scalar = _scalar(value, node.type)
    if scalar is None:
        return _misfit(problems, path, f"is no {node.type}")
    if node.enum and scalar not in node.enum:
        allowed = ", ".join(f"`{each}`" for each in node.enum[:10])
        return _misfit(problems, path, f"is none of {allowed}")
    if node.minimum is not None and scalar < node.minimum:
        return _misfit(problems, path, f"is below {node.minimum}")
    if node.maximum is not None and scalar > node.maximum:
        return _misfit(problems, path, f"is above {node.maximum}")
    return scalar


def _fitted_object(value: object, node: _Node, path: str, problems: list[SchemaProblem]) -> Any:
    if not is_object(value):
        return _misfit(problems, path, "is no object")
    for name in node.required:
        if name not in value:
            _misfit(problems, f"{path}.{name}", "is missing")
    fitted: dict[str, Any] = {}
    for name, inner in value.items():
        if name in node.properties:
            fitted[name] = _fitted(inner, node.properties[name], f"{path}.{name}", problems)
        elif node.open:
            fitted[name] = inner
        else:
            _misfit(problems, f"{path}.{name[:100]}", "is not declared")
    return fitted


def _misfit(problems: list[SchemaProblem], path: str, message: str) -> None:
    problems.append(SchemaProblem(path, message))


def _scalar(value: object, kind: _Type) -> Any:
    """`value` as a `kind`, None if it is none."""
    if kind == "string":
        return value if isinstance(value, str) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind == "number":
        return float(value) if abs(value) <= 1e308 else None
    return int(value) if int(value) == value and abs(value) <= _INT_MAX else None


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether `value` is a JSON object: its names are strings."""
    return isinstance(value, Mapping)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
