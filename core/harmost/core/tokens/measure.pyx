"""One pass over a text that says what it would cost, by group of characters; see measure.pyi.

Each character costs what the table says of its class and that of the one before it.
"""

import json
from importlib.resources import files

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t

from harmost.core.tokens.classes import CLASSES, GROUPS

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)

# A memory read, but a macro by name, which the yellow check takes for a call into Python.
cdef extern from *:
    """
    static inline Py_UCS4 read_character(int kind, const void *data, Py_ssize_t at) {
        return PyUnicode_READ(kind, data, at);
    }
    """
    Py_UCS4 read_character(int kind, const void* data, Py_ssize_t at) noexcept nogil

cdef enum:
    CLASSES_MAX = 128
    BASIC_PLANE = 0x10000
    PAGE_BITS = 8  # of the planes above: every span of theirs begins and ends with a page
    PAGES = 0x110000 >> PAGE_BITS
    SPACE = 1  # a text begins as if a space stood before it

cdef uint8_t[BASIC_PLANE] class_of
cdef uint8_t[PAGES] class_of_page
cdef uint8_t[CLASSES_MAX] group_of
cdef int16_t[CLASSES_MAX][CLASSES_MAX] cost  # millitokens of the second after the first


cdef inline int class_at(uint32_t character) noexcept nogil:
    if character < BASIC_PLANE:
        return class_of[character]
    return class_of_page[character >> PAGE_BITS]


cdef inline void add(
    const int16_t** row, uint32_t character, int64_t* millitokens, int64_t* utf8_bytes
) noexcept nogil:
    cdef int here = class_at(character)
    millitokens[group_of[here]] += row[0][here]
    utf8_bytes[0] += 1 + (character >= 0x80) + (character >= 0x800) + (character >= BASIC_PLANE)
    row[0] = &cost[here][0]


cdef inline void measure_kind(
    int kind, const void* data, Py_ssize_t length, Sums* sums
) noexcept nogil:
    # Two sums in turn: a character need not wait until the one before it is added.
    cdef int64_t[GROUPS_COUNT] even, odd
    cdef int64_t utf8_bytes = 0
    cdef Py_ssize_t at = 0
    cdef int group
    cdef const int16_t* row = &cost[SPACE][0]
    for group in range(GROUPS_COUNT):
        even[group] = odd[group] = 0
    while at + 1 < length:
        add(&row, read_character(kind, data, at), even, &utf8_bytes)
        add(&row, read_character(kind, data, at + 1), odd, &utf8_bytes)
        at += 2
    if at < length:
        add(&row, read_character(kind, data, at), even, &utf8_bytes)
    for group in range(GROUPS_COUNT):
        sums.millitokens[group] += even[group] + odd[group]
    sums.utf8_bytes += utf8_bytes


cdef void measure_text(int kind, const void* data, Py_ssize_t length, Sums* sums) noexcept nogil:
    """Add what `length` characters cost; a loop for each width, so that none asks for it."""
    if kind == 1:
        measure_kind(1, data, length, sums)
    elif kind == 2:
        measure_kind(2, data, length, sums)
    else:
        measure_kind(4, data, length, sums)


cdef class Shape:
    """What messages would cost; see measure.pyi."""

    def __init__(self, texts):
        cdef str text
        for text in texts:
            if text is None:
                raise TypeError("texts must be str")
            self.messages += 1
            measure_text(PyUnicode_KIND(text), PyUnicode_DATA(text), len(text), &self.sums)

    @property
    def utf8_bytes(self) -> int:
        return self.sums.utf8_bytes

    @property
    def millitokens(self) -> tuple:
        return tuple([self.sums.millitokens[group] for group in range(GROUPS_COUNT)])

    @property
    def tokens(self) -> int:
        cdef int64_t total = 999
        for group in range(GROUPS_COUNT):
            total += self.sums.millitokens[group]
        return total // 1000


def _load(bytes table) -> None:
    """Lay the classes and their costs out for the loop."""
    rows = [json.loads(line) for line in table.splitlines()]
    if len(CLASSES) > CLASSES_MAX or len(GROUPS) != GROUPS_COUNT or len(rows) != len(CLASSES):
        raise ValueError("costs.jsonl does not fit the classes: run scripts/token-costs")
    cdef int here, after
    for here, character_class in enumerate(CLASSES):
        group_of[here] = GROUPS.index(character_class.group)
        for first, last in character_class.spans:
            _span(here, first, last)
        row = rows[here]
        if row["after"] != character_class.name or len(row["millitokens"]) != len(CLASSES):
            raise ValueError("costs.jsonl does not fit the classes: run scripts/token-costs")
        for after, millitokens in enumerate(row["millitokens"]):
            cost[here][after] = millitokens


cdef int _span(int here, int first, int last) except -1:
    cdef int code
    if first < BASIC_PLANE:
        for code in range(first, last + 1):
            class_of[code] = here
    else:
        for code in range(first >> PAGE_BITS, (last >> PAGE_BITS) + 1):
            class_of_page[code] = here
    return 0


_load(files("harmost.core.tokens").joinpath("costs.jsonl").read_bytes())
