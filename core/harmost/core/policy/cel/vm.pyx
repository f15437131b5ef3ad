"""Programs: trees of ir.py made ready to run on facts. How steps run is in machine.pyx."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport calloc, free

from harmost.core.policy.cel import ir
from harmost.core.policy.cel.machine cimport (
    ALL,
    AND,
    ARITHMETIC,
    ASK,
    CHOOSE,
    COMPARE,
    CONSTANT,
    CONVERT,
    FACT,
    HAS,

    IN,
    INDEX,
    LIST_OF,
    LOCAL,
    MAP_OF,
    MATCHES,
    NEGATE,
    NOT,
    OR,
    Step,
    run_code,
)
from harmost.core.policy.cel.pattern import compile_pattern
from harmost.core.policy.cel.store cimport to_python
from harmost.core.policy.cel.value cimport BOOL, ERROR, FACT_TYPE, LIST, MAP, NO_FACT, NO_KEY, of_items

# By the numbers of the enums in operate.pxd and machine.pxd.
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
OPERATORS = ("+", "-", "*", "/", "%")
FUNCTIONS = (
    "size", "startsWith", "endsWith", "contains",
    "bool", "int", "double", "string", "timestamp", "duration",
)
MACROS = ("all", "exists", "exists_one", "filter", "map")
# By the numbers of Failure in value.pxd.
SAID = (
    "no operator or function fits these types",
    "has no value",
    "has a value of another type than {}",
    "no such key",
    "index out of range",
    "unsupported type of key",
    "repeated key",
    "integer overflow",
    "division by zero",
    "modulus by zero",
    "text or number cannot be converted",
    "timestamp or duration out of range",
    "evaluation takes too many steps",
    "evaluation takes too much memory",
)
KEY_CHARS_SHOWN = 60
HOLDS, FAILS = (True, ""), (False, "")


class EvaluationError(Exception):
    """An expression has no value for these facts; the text says why."""


cdef class Program:
    """One tree, ready to run on frames of `schema`. Immutable."""

    def __cinit__(self, node, Schema schema not None):
        self.schema = schema
        self._patterns, self._store = [], Store()
        self._assemble(node, ir.check(node))

    def __dealloc__(self):
        free(self.code.steps)
        free(self.code.operands)
        free(self.code.patterns)

    def evaluate(self, Frame frame not None):
        """Whether it holds, and why that cannot be said; (False, "") is a plain no."""
        cdef Value value
        if frame.schema is not self.schema:
            raise ValueError("the frame is of another schema: make it with the program's")
        value = self.run(frame)
        if value.kind == BOOL:
            return HOLDS if value.of.number else FAILS
        return False, self._said(&value)

    def value(self, Frame frame not None):
        """What it gives, as Python; raises EvaluationError."""
        cdef Value value
        if frame.schema is not self.schema:
            raise ValueError("the frame is of another schema: make it with the program's")
        value = self.run(frame)
        if value.kind == ERROR:
            raise EvaluationError(self._said(&value))
        return to_python(&value)

    cdef Value run(self, Frame frame) noexcept:
        return run_code(
            &self.code, self.root, frame.request, frame.candidate, frame.split, &frame.scratch
        )

    cdef int holds(self, Frame frame) noexcept:
        cdef Value value = self.run(frame)
        return <int>value.of.number if value.kind == BOOL else -1

    cdef str _said(self, const Value* error):
        """Why there is no answer: text for people, bounded."""
        if error.kind != ERROR:
            return "the value is no bool"
        said = SAID[error.nanos]
        if error.nanos == NO_KEY and error.size:
            key = PyUnicode_DecodeUTF8(error.of.text, error.size, "replace")
            return f"{said}: `{key[:KEY_CHARS_SHOWN]}`"
        if error.nanos == NO_FACT or error.nanos == FACT_TYPE:
            slot = error.of.number
            return f"`{self.schema.names[slot]}` {said.format(self.schema.types[slot])}"
        return said

    cdef int _assemble(self, object node, int nodes) except -1:
        cdef int index
        slots = set()
        # Every node is one step, and the operand of one other: lists of constants need fewer.
        self.code.steps = <Step*>calloc(nodes, sizeof(Step))
        self.code.operands = <int*>calloc(nodes, sizeof(int))
        if self.code.steps == NULL or self.code.operands == NULL:
            raise MemoryError
        self.root = self._add(node)
        for index in range(self._steps):
            if self.code.steps[index].op == FACT:
                slots.add(self.code.steps[index].detail)
        self.slots = tuple(sorted(slots))
        self.code.patterns = <void**>calloc(len(self._patterns) + 1, sizeof(void*))
        if self.code.patterns == NULL:
            raise MemoryError
        for index in range(len(self._patterns)):
            self.code.patterns[index] = <void*>self._patterns[index]
        return 0

    cdef int _add(self, object node) except -1:
        """Add the steps of `node`; the index of the last, which is its own."""
        kind = type(node)
        parts = ir.children(node)
        if kind is ir.Const:
            return self._constant_step(node.value)
        if kind is ir.Fact:
            return self._step(FACT, self._slot(node), ())
        if kind is ir.Local:
            return self._step(LOCAL, node.index, ())
        if kind is ir.Compare:
            return self._step(COMPARE, COMPARISONS.index(node.op), parts)
        if kind is ir.Arithmetic:
            op = NEGATE if len(parts) == 1 else ARITHMETIC
            return self._step(op, OPERATORS.index(node.op), parts)
        if kind is ir.Call:
            return self._call(node)
        if kind is ir.Each:
            return self._step(ALL + MACROS.index(node.macro), 0, parts)
        if (kind is ir.ListOf or kind is ir.MapOf) and are_constant(node, parts):
            return self._constant_items(LIST if kind is ir.ListOf else MAP, parts)
        at = self._step(PLAIN[kind], 0, parts)
        if kind is ir.Has:
            self._constant(node.key, &self.code.steps[at].constant)
        return at

    def _call(self, node):
        if node.function == "matches":
            self._patterns.append(compiled(node.args[1].value))
            return self._step(MATCHES, len(self._patterns) - 1, node.args[:1])
        op = CONVERT if len(node.args) == 1 else ASK
        return self._step(op, FUNCTIONS.index(node.function), node.args)

    def _slot(self, node):
        try:
            slot = self.schema.slot(node.name)
        except KeyError:
            raise ir.IrRefused(
                f"there is no fact `{node.name}`: run the same version everywhere"
            ) from None
        if self.schema.types[slot] != node.type:
            raise ir.IrRefused(
                f"fact `{node.name}` is a {self.schema.types[slot]}, not a {node.type}: "
                "run the same version everywhere"
            )
        return slot

    cdef int _step(self, int op, int detail, object nodes) except -1:
        cdef Step* step
        cdef int index, at, size = 1
        operands = [self._add(node) for node in nodes]
        at = self._steps
        step = &self.code.steps[at]
        step.op, step.detail, step.first, step.count = op, detail, self._operands, len(operands)
        for index in range(step.count):
            self.code.operands[self._operands + index] = operands[index]
            size += self.code.steps[<int>operands[index]].size
        step.size = size
        self._steps += 1
        self._operands += step.count
        return at

    def _constant_step(self, value):
        at = self._step(CONSTANT, 0, ())
        self._constant(value, &self.code.steps[<int>at].constant)
        return at

    def _constant_items(self, int kind, parts):
        cdef Value* items = self._store.room(len(parts))
        cdef int index, at = self._step(CONSTANT, 0, ())
        for index, part in enumerate(parts):
            self._constant(part.value, &items[index])
        self.code.steps[at].constant = of_items(kind, items, len(parts) // (2 if kind == MAP else 1))
        return at

    cdef int _constant(self, object value, Value* to) except -1:
        try:
            return self._store.put(value, to, 0)
        except UnicodeEncodeError:
            raise ir.IrRefused("a constant is no Unicode text") from None


PLAIN = {
    ir.And: AND,
    ir.Or: OR,
    ir.Not: NOT,
    ir.If: CHOOSE,
    ir.In: IN,
    ir.Index: INDEX,
    ir.Has: HAS,
    ir.ListOf: LIST_OF,
    ir.MapOf: MAP_OF,
}


def are_constant(node, parts):
    """Whether a list, or a map whose keys cause no error, can be made once and for all."""
    if any(type(part) is not ir.Const for part in parts):
        return False
    if type(node) is ir.ListOf:
        return True
    keys = {(key.kind, key.value) for key in node.keys if key.kind in ("bool", "int", "string")}
    return len(keys) == len(node.keys)


def compiled(pattern):
    """The RE2 of `pattern`; raises IrRefused where it is none."""
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise ir.IrRefused(f"pattern `{pattern[:80]}` is refused by RE2: {error}") from None
