"""Value -> row of bits for each fact, and their AND; see index.pyi.

A row has a bit for each lane: 1 where the value does not refute it. Rows are built when a value is
first seen and kept; what is kept is bounded, and begun anew when full.

Source: bitmap indexes, O'Neil and Quass, "Improved Query Performance with Variant Indexes", 1997.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_CheckExact, PyDict_GetItemWithError
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from harmost.core.limits import POLICY_ROWS_BYTES_MAX, POLICY_VALUES_MAX

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) noexcept nogil

cdef enum:
    BLOCK_WORDS = 8       # one cache line
    CHECK_EVERY = 4       # rows, before it is looked whether any lane of a block is left
    SIGNATURES_MAX = 1024
    # Classes that every SetKey has; those of named values follow.
    OTHER = 0
    MISSING = 1
    NAMED = 2

cdef Py_ssize_t ROWS_BYTES_MAX = POLICY_ROWS_BYTES_MAX
cdef Py_ssize_t VALUES_MAX = POLICY_VALUES_MAX


cdef int sweep(
    const uint64_t** rows, int count, const uint64_t* all_lanes, int words, int32_t* survivors
) noexcept nogil:
    """Lanes that all of `rows` have, ascending; how many. No row: all lanes. O(rows x words / 8)."""
    cdef uint64_t block[BLOCK_WORDS]
    cdef uint64_t any_left, word
    cdef int at = 0, row, i, found = 0
    while at < words:
        for i in range(BLOCK_WORDS):
            block[i] = all_lanes[at + i]
        for row in range(count):
            for i in range(BLOCK_WORDS):
                block[i] &= rows[row][at + i]
            if row % CHECK_EVERY == CHECK_EVERY - 1:
                any_left = 0
                for i in range(BLOCK_WORDS):
                    any_left |= block[i]
                if not any_left:
                    break
        for i in range(BLOCK_WORDS):
            word = block[i]
            while word:
                survivors[found] = ((at + i) << 6) + __builtin_ctzll(word)
                found += 1
                word &= word - 1
        at += BLOCK_WORDS
    return found


cdef inline void clear_bit(uint64_t* row, int lane) noexcept nogil:
    row[lane >> 6] &= ~(<uint64_t>1 << (lane & 63))


cdef inline void set_bit(uint64_t* row, int lane) noexcept nogil:
    row[lane >> 6] |= <uint64_t>1 << (lane & 63)


cdef inline uint64_t* words_of(bytes row) noexcept:
    return <uint64_t*>PyBytes_AS_STRING(row)


cdef int refute(Index index, uint64_t* row, lanes, int truth) except -1:
    """Take the `lanes` of a test with this `truth` (1, 0; -1: an error) out of `row`."""
    cdef int lane
    if truth == 1:
        return 0
    for lane in lanes:
        if truth == 0 or index.lower[lane >> 6] >> (lane & 63) & 1:
            clear_bit(row, lane)
    return 0


cdef class Index:
    def __cinit__(self, int lanes, lower, keys):
        cdef int lane
        self.lanes = lanes
        self.words = ((lanes + 63) // 64 + BLOCK_WORDS - 1) // BLOCK_WORDS * BLOCK_WORDS
        self.row_bytes = self.words * 8
        all_lanes, below = bytearray(self.row_bytes), bytearray(self.row_bytes)
        survivors = bytearray(4 * max(lanes, 1))
        self.all_lanes = <uint64_t*><char*>all_lanes
        self.lower = <uint64_t*><char*>below
        self.survivors = <int32_t*><char*>survivors
        for lane in range(lanes):
            set_bit(self.all_lanes, lane)
        for lane in lower:
            set_bit(self.lower, lane)
        self._keys = [_key(self, *key) for key in keys]
        chosen = bytearray(8 * max(1, sum(_rows_chosen(key) for key in self._keys)))
        self._chosen = <const uint64_t**><char*>chosen
        self._memory = (all_lanes, below, survivors, chosen)

    def surviving(self, dict request) -> list:
        cdef int i, count = self.scan(request)
        return [self.survivors[i] for i in range(count)]

    cdef int scan(self, dict request) except -1:
        """Put the lanes that `request` does not refute into `survivors`; how many."""
        cdef Py_ssize_t i
        cdef Key key
        cdef str last = None
        cdef PyObject* value = NULL
        if self._lazy_bytes > ROWS_BYTES_MAX:
            self.forget()
        self._chosen_count = 0
        self.erred = False
        for i in range(PyList_GET_SIZE(self._keys)):
            key = <Key>PyList_GET_ITEM(self._keys, i)
            if key.fact is not last:
                last = key.fact
                value = PyDict_GetItemWithError(request, last)
            key.choose(value)
        return sweep(
            self._chosen, self._chosen_count, self.all_lanes, self.words, self.survivors
        )

    def forget(self) -> None:
        cdef Key key
        self._lazy_bytes = 0
        for key in self._keys:
            key.forget()

    cdef bytes new_row(self, const uint64_t* like):
        self._lazy_bytes += self.row_bytes
        return PyBytes_FromStringAndSize(<const char*>like, self.row_bytes)

    cdef void put(self, bytes row) noexcept:
        """Let `row` take part; the keys keep it alive. None: it refutes nothing."""
        if row is not None:
            self._chosen[self._chosen_count] = words_of(row)
            self._chosen_count += 1


def _key(Index index, str kind, str fact, entry, tests):
    if kind == "value":
        return SetKey(index, fact, tests)
    if kind == "entry":
        return EntryKey(index, fact, tests, entry)
    if kind == "elements":
        return ElementsKey(index, fact, tests)
    if kind == "number":
        return NumberKey(index, fact, tests)
    return FoldKey(index, fact, tests, entry, entry_type(kind))


cdef type entry_type(str kind):
    return {"fold_string": str, "fold_bool": bool, "fold_strings": list}[kind]


def _rows_chosen(Key key):
    return len((<ElementsKey>key)._absent) if isinstance(key, ElementsKey) else 1


cdef class Key:
    """One way to look at one fact; `choose` puts the rows of a value into the index."""

    def __init__(self, Index index, str fact, *_):
        self.index = index
        self.fact = fact

    cdef int choose(self, PyObject* value) except -1:
        raise NotImplementedError

    cdef void forget(self):
        """Drop the rows that were built for values seen."""


cdef class SetKey(Key):
    """A string that tests compare with constants; `choose_of` is given the string itself."""

    def __init__(self, Index index, str fact, tests, *_):
        Key.__init__(self, index, fact)
        self._classes = {}
        self._positive, self._negative = [None, None], [None, None]
        self._rows = [None, None]
        self._absent = []
        for test in tests:
            if test.values is None and test.negated:
                self._absent.extend(test.lanes)
            for value in test.values or ():
                self._add(value, test)
        for which in range(NAMED):
            self._rows[which] = self._default(which, tests)

    def _add(self, value, test):
        which = self._classes.setdefault(value, len(self._rows))
        if which == len(self._rows):
            self._rows.append(None)
            self._positive.append(None)
            self._negative.append(None)
        lanes = self._negative if test.negated else self._positive
        lanes[which] = test.lanes if lanes[which] is None else [*lanes[which], *test.lanes]

    def _default(self, int which, tests):
        """The row of a value that no test names, or of none at all."""
        cdef bytes row = self.index.new_row(self.index.all_lanes)
        for test in tests:
            if test.values is None:  # whether there is one
                truth = (which == OTHER) != test.negated
            else:
                truth = int(test.negated) if which == OTHER else -1
            refute(self.index, words_of(row), test.lanes, truth)
        return row

    cdef int choose(self, PyObject* value) except -1:
        return self.choose_of(value)

    cdef int choose_of(self, PyObject* value) except -1:
        cdef PyObject* found
        cdef Py_ssize_t which = OTHER
        cdef object row
        if value == NULL:
            found = PyDict_GetItemWithError(self._classes, "")
        elif PyUnicode_CheckExact(<object>value):
            found = PyDict_GetItemWithError(self._classes, <object>value)
        else:
            self.index.erred = True
            return 0
        if found != NULL:
            which = <object>found
        row = self._rows[which]
        self.index.put(self.built(which) if row is None else <bytes>row)
        return 0

    cdef bytes built(self, Py_ssize_t which):
        cdef bytes row = self.index.new_row(words_of(self._rows[OTHER]))
        cdef uint64_t* words = words_of(row)
        cdef int lane
        for lane in self._positive[which] or ():
            set_bit(words, lane)
        for lane in self._negative[which] or ():
            clear_bit(words, lane)
        for lane in self._absent:
            clear_bit(words, lane)
        self._rows[which] = row
        return row

    cdef void forget(self):
        for which in range(NAMED, len(self._rows)):
            self._rows[which] = None


cdef class EntryKey(SetKey):
    """The string that a map has under `entry`, where it has one."""

    def __init__(self, Index index, str fact, tests, str entry):
        SetKey.__init__(self, index, fact, tests)
        self._entry = entry

    cdef int choose(self, PyObject* value) except -1:
        cdef PyObject* found
        if value != NULL and not PyDict_CheckExact(<object>value):
            self.index.erred = True
            return 0
        found = NULL if value == NULL else PyDict_GetItemWithError(<object>value, self._entry)
        if found == NULL:
            self.index.put(self._rows[MISSING])
            return 0
        return self.choose_of(found)


cdef class ElementsKey(Key):
    """A list of strings that tests ask for elements."""

    def __init__(self, Index index, str fact, tests, *_):
        Key.__init__(self, index, fact)
        self._places, self._absent, self._present = {}, [], []
        for test in tests:
            (element,) = test.values
            place = self._places.setdefault(element, len(self._absent))
            if place == len(self._absent):
                for rows in (self._absent, self._present):
                    rows.append(index.new_row(index.all_lanes))
            refute(index, words_of(self._absent[place]), test.lanes, test.negated)
            refute(index, words_of(self._present[place]), test.lanes, not test.negated)
        everything = PyBytes_FromStringAndSize(<const char*>index.all_lanes, index.row_bytes)
        for rows in (self._absent, self._present):
            rows[:] = [None if row == everything else row for row in rows]
        self._here = list(self._absent)

    cdef int choose(self, PyObject* value) except -1:
        cdef PyObject* found
        cdef Py_ssize_t i, place, count
        cdef object element
        self._here[:] = self._absent
        if value != NULL:
            if not PyList_CheckExact(<object>value):
                self.index.erred = True
                return 0
            count = PyList_GET_SIZE(<list>value)
            for i in range(count):
                element = <object>PyList_GET_ITEM(<list>value, i)
                if not PyUnicode_CheckExact(element):
                    self.index.erred = True
                    return 0
                found = PyDict_GetItemWithError(self._places, element)
                if found != NULL:
                    place = <object>found
                    self._here[place] = self._present[place]
        for i in range(PyList_GET_SIZE(self._here)):
            self.index.put(<bytes>PyList_GET_ITEM(self._here, i))
        return 0


cdef class NumberKey(Key):
    """An integer that tests ask for ranges, which part all integers into few classes."""

    def __init__(self, Index index, str fact, tests, *_):
        Key.__init__(self, index, fact)
        starts = set()
        for test in tests:
            for first, last in test.ranges:
                starts.add(first)
                starts.add(last + 1)
        starts = sorted(start for start in starts if -(2**63) < start < 2**63)
        self._starts_count = len(starts)
        self._memory = bytearray(8 * max(1, len(starts)))
        self._starts = <int64_t*><char*>self._memory
        for i, start in enumerate(starts):
            self._starts[i] = start
        self._tests = list(tests)
        self._rows = [None] * (len(starts) + 1)

    cdef int choose(self, PyObject* value) except -1:
        cdef int64_t number = 0
        cdef int overflow = 0
        cdef int low = 0, high = self._starts_count, middle
        cdef object row
        if value != NULL:
            if PyLong_CheckExact(<object>value):
                number = PyLong_AsLongLongAndOverflow(<object>value, &overflow)
            if overflow or not PyLong_CheckExact(<object>value):
                self.index.erred = True
                return 0
        while low < high:  # how many classes begin at or below `number`
            middle = (low + high) >> 1
            if self._starts[middle] <= number:
                low = middle + 1
            else:
                high = middle
        row = self._rows[low]
        self.index.put(self.built(low, number) if row is None else <bytes>row)
        return 0

    cdef bytes built(self, Py_ssize_t which, int64_t value):
        cdef bytes row = self.index.new_row(self.index.all_lanes)
        for test in self._tests:
            inside = any(first <= value <= last for first, last in test.ranges)
            refute(self.index, words_of(row), test.lanes, inside != test.negated)
        self._rows[which] = row
        return row

    cdef void forget(self):
        self._rows = [None] * (self._starts_count + 1)


cdef class FoldKey(Key):
    """A value that tests ask anything, each answered when the value is first seen.

    Values with the same answers share a row. More than VALUES_MAX values: all are forgotten.
    """

    def __init__(self, Index index, str fact, tests, entry, type of):
        Key.__init__(self, index, fact)
        self._entry = entry
        self._type = of
        self._tests = list(tests)
        self._known, self._signatures = {}, {}

    cdef int choose(self, PyObject* value) except -1:
        cdef PyObject* found = NULL
        cdef object key, given
        if self._entry is not None and value != NULL:
            if not PyDict_CheckExact(<object>value):
                self.index.erred = True
                return 0
            value = PyDict_GetItemWithError(<object>value, self._entry)
        if value == NULL:
            return self.learn({} if self._entry is not None else self._type(), None)
        given = <object>value
        if type(given) is not self._type:
            self.index.erred = True
            return 0
        key = given
        if self._type is list:
            if not only_strings(<list>given):
                self.index.erred = True
                return 0
            key = tuple(<list>given)
        found = PyDict_GetItemWithError(self._known, key)
        if found != NULL:
            self.index.put(<bytes>found)
            return 0
        return self.learn(given if self._entry is None else {self._entry: given}, key)

    cdef int learn(self, object value, object key) except -1:
        """Choose the row of the fact `value`; keep it under `key`, unless that is None."""
        answers = tuple([test.unary(value) for test in self._tests])
        row = self._signatures.get(answers)
        if row is None:
            if len(self._signatures) >= SIGNATURES_MAX:
                self.forget()
            row = self.index.new_row(self.index.all_lanes)
            for test, truth in zip(self._tests, answers):
                if test.negated and truth >= 0:
                    truth = 1 - truth
                refute(self.index, words_of(row), test.lanes, truth)
            self._signatures[answers] = row
        self.index.put(<bytes>row)
        if key is not None:
            if len(self._known) >= VALUES_MAX:
                self._known.clear()
            self._known[key] = row
        return 0

    cdef void forget(self):
        self._known.clear()
        self._signatures.clear()


cdef bint only_strings(list values):
    cdef Py_ssize_t i
    for i in range(PyList_GET_SIZE(values)):
        if not PyUnicode_CheckExact(<object>PyList_GET_ITEM(values, i)):
            return False
    return True
