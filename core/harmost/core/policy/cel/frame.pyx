"""Facts in C: converted once a request and once a candidate, read by any number of programs.

What a fact means, and which there are, is not said here: see facts.py.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from harmost.core.limits import CEL_SCRATCH_BYTES_MAX
from harmost.core.policy.cel.scratch cimport release
from harmost.core.policy.cel.value cimport (
    BOOL,
    DOUBLE,
    DURATION,
    FACT_TYPE,
    INT,
    LIST,
    MAP,
    NO_FACT,
    NONE,
    STRING,
    TIMESTAMP,
    failure,
    of_bool,
    of_double,
    of_int,
    of_items,
    of_text,
)

cdef int ANYTHING = -1
cdef object MISSING = object()

KINDS = {
    "null": NONE,
    "bool": BOOL,
    "int": INT,
    "double": DOUBLE,
    "string": STRING,
    "timestamp": TIMESTAMP,
    "duration": DURATION,
    "dyn": ANYTHING,
}


cdef class Schema:
    """Names and types of the slots: those of the request first, then those of a candidate."""

    def __cinit__(self, request, candidate=None, *, bint defaults):
        types = {**request, **(candidate or {})}
        self.names = tuple(types)
        self.types = tuple(types.values())
        self.split = len(request)
        self.defaults = defaults
        self._slots = {name: slot for slot, name in enumerate(self.names)}
        self._declared = <Declared*>calloc(max(len(types), 1), sizeof(Declared))
        if self._declared == NULL:
            raise MemoryError
        for slot, type_name in enumerate(self.types):
            self._declared[slot] = declared(type_name)
        self._no_request = self._facts(None, False)
        self._no_candidate = self._facts(None, True)

    def __dealloc__(self):
        free(self._declared)

    def slot(self, str name):
        """The slot of `name`; KeyError if there is none."""
        return self._slots[name]

    def request(self, values):
        """The request facts among `values`, by name."""
        return self._facts(values, False)

    def candidate(self, values):
        """The facts of one candidate among `values`, by name."""
        return self._facts(values, True)

    def frame(self, values):
        """A frame of all facts among `values`, by name."""
        frame = Frame(self)
        frame.use(self.request(values))
        frame.use(self.candidate(values))
        return frame

    cdef Facts _facts(self, object values, bint of_candidate):
        cdef Facts facts = Facts.__new__(Facts)
        cdef int slot
        cdef int first = self.split if of_candidate else 0
        cdef int end = len(self.names) if of_candidate else self.split
        facts.schema, facts.of_candidate, facts._store = self, of_candidate, Store.__new__(Store)
        facts.values = facts._store.room(end - first)
        for slot in range(first, end):
            if values is None:
                facts.values[slot - first] = failed(NO_FACT, slot)
            else:
                facts.values[slot - first] = self._given(facts._store, values, slot)
        return facts

    cdef Value _given(self, Store store, object values, int slot):
        cdef Value value
        given = values.get(self.names[slot], MISSING)
        if given is MISSING:
            return empty(self._declared[slot].kind) if self.defaults else failed(NO_FACT, slot)
        try:
            store.put(given, &value, 0)
        except (TypeError, ValueError, OverflowError, MemoryError):
            return failed(FACT_TYPE, slot)
        return value if fits(&value, &self._declared[slot]) else failed(FACT_TYPE, slot)


cdef Value failed(int code, int slot) noexcept:
    cdef Value value = failure(code)
    value.of.number = slot
    return value


cdef Value empty(int kind) noexcept:
    """What a fact that is not given is. Those of other types have no such value: null."""
    if kind == STRING:
        return of_text(b"", 0)
    if kind == BOOL:
        return of_bool(False)
    if kind == INT:
        return of_int(0)
    if kind == DOUBLE:
        return of_double(0.0)
    return of_items(kind if kind == LIST or kind == MAP else NONE, NULL, 0)


cdef Declared declared(str type_name) except *:
    """`string`, `list(string)`, `map(string,int)`; what lists and maps hold beyond that is not checked."""
    cdef Declared found
    found.key = found.item = ANYTHING
    name = type_name.replace(" ", "")
    if name in KINDS:
        found.kind = KINDS[name]
        return found
    outer, _, inner = name.removesuffix(")").partition("(")
    if outer == "list" and inner:
        found.kind, found.item = LIST, KINDS.get(inner, ANYTHING)
    elif outer == "map" and "," in inner:
        key, _, item = inner.partition(",")
        found.kind, found.key, found.item = MAP, KINDS.get(key, ANYTHING), KINDS.get(item, ANYTHING)
    else:
        raise ValueError(f"`{type_name}` is no type of a fact")
    return found


cdef bint fits(const Value* value, const Declared* as_declared) noexcept:
    cdef int64_t index
    if as_declared.kind == ANYTHING:
        return True
    if value.kind != as_declared.kind:
        return False
    if value.kind == LIST and as_declared.item != ANYTHING:
        for index in range(value.size):
            if value.of.items[index].kind != as_declared.item:
                return False
    elif value.kind == MAP:
        for index in range(value.size):
            if as_declared.key not in (ANYTHING, value.of.items[2 * index].kind):
                return False
            if as_declared.item not in (ANYTHING, value.of.items[2 * index + 1].kind):
                return False
    return True


cdef class Facts:
    """One scope's facts. Immutable once made; any number of frames may use it."""

    def __init__(self):
        raise TypeError("facts are made by a schema: call its `request` or `candidate`")


cdef class Frame:
    """What programs run on: the facts of a request and of one candidate, and scratch memory.

    One thread at a time uses it.
    """

    def __cinit__(self, Schema schema not None):
        self.schema = schema
        self.split = schema.split
        self.scratch.bytes_left = self.scratch.bytes_max = CEL_SCRATCH_BYTES_MAX
        self.scratch.block_bytes = 4096
        self._request = schema._no_request
        self.request = self._request.values
        self._candidate = schema._no_candidate
        self.candidate = self._candidate.values

    def __dealloc__(self):
        release(&self.scratch)

    def use(self, Facts facts not None):
        """Put `facts` in their place: the request's or the candidate's. Allocates nothing."""
        if facts.schema is not self.schema:
            raise ValueError("facts are of another schema: make them with this frame's")
        if facts.of_candidate:
            self._candidate, self.candidate = facts, facts.values
        else:
            self._request, self.request = facts, facts.values

    def clear_candidate(self):
        """No candidate: its facts are errors."""
        self._candidate = self.schema._no_candidate
        self.candidate = self._candidate.values
