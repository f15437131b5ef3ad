"""Reads the common piece of an answer from a vendor's JSON, in one pass; see scan_delta.pyi.

Source: RFC 8259 for JSON, RFC 3629 for UTF-8; the vendors' fields as in openai.py, anthropic.py, bedrock.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    # Deeper values are left to the whole decoder, which has a bound of its own.
    DEPTH_MAX = 32
    NUMBER_CHARS_MAX = 18
    QUOTE = 34
    BACKSLASH = 92


# OpenAI: {"id", "choices": [{"index": 0, "delta": {"content"}, "finish_reason": null}], ...}
# A delta that says anything else than text, such as a tool call, is for the whole decoder.

cdef Field[4] CHUNK = [
    Field(b"choices", 7), Field(b"id", 2), Field(b"usage", 5), Field(b"error", 5),
]
cdef Field[3] CHOICE = [Field(b"delta", 5), Field(b"index", 5), Field(b"finish_reason", 13)]
cdef Field[5] CHOICE_DELTA = [
    Field(b"content", 7), Field(b"refusal", 7), Field(b"tool_calls", 10),
    Field(b"reasoning_content", 17), Field(b"reasoning", 9),
]


cdef int scan_openai(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil:
    """What `data`, one event, holds. `id_known`: an id in it is no news."""
    cdef Cursor cursor = Cursor(data, data + size)
    cdef Found found
    memset(&found, 0, sizeof(Found))
    if not members(&cursor, CHUNK, 4, chunk_field, &found) or not at_end(&cursor):
        return DELTA_UNKNOWN
    if found.id.size and not id_known:
        return DELTA_UNKNOWN
    text[0] = found.text
    return DELTA_TEXT if text.size else DELTA_NOTHING


cdef bint chunk_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return choices(cursor, found)
    if field == 1:
        return null(cursor) or string(cursor, &found.id)
    return null(cursor)


cdef bint choices(Cursor* cursor, Found* found) noexcept nogil:
    """At most one choice; several are left to the whole decoder."""
    if not sign(cursor, c'['):
        return False
    if sign(cursor, c']'):
        return True
    return members(cursor, CHOICE, 3, choice_field, found) and sign(cursor, c']')


cdef bint choice_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or members(cursor, CHOICE_DELTA, 5, choice_delta_field, found)
    if field == 1:
        return sign(cursor, c'0')  # whatever follows it but a comma or brace is unknown
    return null(cursor)


cdef bint choice_delta_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or string(cursor, &found.text)
    return null(cursor)


# Anthropic: {"type": "content_block_delta", "index", "delta": {"type": "text_delta", "text"}}

cdef Field[6] FRAME = [
    Field(b"type", 4), Field(b"delta", 5), Field(b"message", 7),
    Field(b"content_block", 13), Field(b"usage", 5), Field(b"error", 5),
]
cdef Field[5] FRAME_DELTA = [
    Field(b"text", 4), Field(b"stop_reason", 11), Field(b"partial_json", 12),
    Field(b"thinking", 8), Field(b"signature", 9),
]


cdef int scan_anthropic(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil:
    """What `data`, one event, holds. The id stands in an event that is unknown here."""
    cdef Cursor cursor = Cursor(data, data + size)
    cdef Found found
    memset(&found, 0, sizeof(Found))
    if not members(&cursor, FRAME, 6, frame_field, &found) or not at_end(&cursor):
        return DELTA_UNKNOWN
    text[0] = found.text
    if is_word(&found.type, b"content_block_delta", 19):
        return DELTA_TEXT if text.size else DELTA_NOTHING
    if is_word(&found.type, b"ping", 4):
        return DELTA_NOTHING
    return DELTA_UNKNOWN


cdef bint frame_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return string(cursor, &found.type)
    if field == 1:
        return null(cursor) or members(cursor, FRAME_DELTA, 5, frame_delta_field, found)
    return null(cursor)


cdef bint frame_delta_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or string(cursor, &found.text)
    return null(cursor)


# Bedrock: {"contentBlockDelta": {"delta": {"text"}, "contentBlockIndex"}}

cdef Field[6] CONVERSE = [
    Field(b"contentBlockDelta", 17), Field(b"contentBlockStart", 17), Field(b"contentBlockStop", 16),
    Field(b"messageStop", 11), Field(b"metadata", 8), Field(b"exception", 9),
]
cdef Field[3] CONVERSE_PIECE = [
    Field(b"delta", 5), Field(b"contentBlockIndex", 17), Field(b"start", 5),
]
cdef Field[3] CONVERSE_DELTA = [
    Field(b"text", 4), Field(b"toolUse", 7), Field(b"reasoningContent", 16),
]


cdef int scan_bedrock(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil:
    """What `data`, one message, holds. There is no id."""
    cdef Cursor cursor = Cursor(data, data + size)
    cdef Found found
    memset(&found, 0, sizeof(Found))
    if not members(&cursor, CONVERSE, 6, converse_field, &found) or not at_end(&cursor):
        return DELTA_UNKNOWN
    text[0] = found.text
    return DELTA_TEXT if text.size else DELTA_NOTHING


cdef bint converse_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or members(cursor, CONVERSE_PIECE, 3, converse_piece_field, found)
    return null(cursor)


cdef bint converse_piece_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or members(cursor, CONVERSE_DELTA, 3, frame_delta_field, found)
    if field == 1:
        return sign(cursor, c'0') or digits(cursor) > 0
    return null(cursor)


# JSON. Every reader begins at the next value and answers False for what it does not know; what it
# answers True for is valid JSON, so that skipping it cannot hide an error.


cdef bint members(
    Cursor* cursor, const Field* fields, int count, FieldReader read, Found* found
) noexcept nogil:
    """An object: `read` takes the named fields, once each; others are skipped."""
    cdef Slice key
    cdef int field, seen = 0
    if not sign(cursor, c'{'):
        return False
    if sign(cursor, c'}'):
        return True
    while True:
        if not string(cursor, &key) or key.escaped or not sign(cursor, c':'):
            return False
        field = field_of(&key, fields, count)
        if field < 0:
            if not value(cursor, 0):
                return False
        elif seen >> field & 1 or not read(cursor, field, found):
            return False
        else:
            seen |= 1 << field
        if sign(cursor, c'}'):
            return True
        if not sign(cursor, c','):
            return False


cdef int field_of(const Slice* key, const Field* fields, int count) noexcept nogil:
    cdef int field
    for field in range(count):
        if is_word(key, fields[field].name, fields[field].size):
            return field
    return -1


cdef inline bint is_word(const Slice* text, const char* word, Py_ssize_t size) noexcept nogil:
    return text.size == size and memcmp(text.data, word, size) == 0


cdef bint value(Cursor* cursor, int depth) noexcept nogil:
    """Skip any value."""
    cdef Slice ignored
    cdef char first = peek(cursor)
    if first == QUOTE:
        return string(cursor, &ignored)
    if first == c'{' or first == c'[':
        return depth < DEPTH_MAX and container(cursor, first, depth + 1)
    if first == c'n':
        return null(cursor)
    if first == c't':
        return literal(cursor, b"true", 4)
    if first == c'f':
        return literal(cursor, b"false", 5)
    return number(cursor)


cdef bint container(Cursor* cursor, char first, int depth) noexcept nogil:
    """Skip an object or an array."""
    cdef Slice key
    cdef char last = c'}' if first == c'{' else c']'
    sign(cursor, first)
    if sign(cursor, last):
        return True
    while True:
        if first == c'{' and not (string(cursor, &key) and sign(cursor, c':')):
            return False
        if not value(cursor, depth):
            return False
        if sign(cursor, last):
            return True
        if not sign(cursor, c','):
            return False


cdef bint number(Cursor* cursor) noexcept nogil:
    """Skip a short number without an exponent."""
    sign(cursor, c'-')
    if cursor.at < cursor.end and cursor.at[0] == c'0':
        cursor.at += 1
    elif digits(cursor) == 0:
        return False
    if cursor.at < cursor.end and cursor.at[0] == c'.':
        cursor.at += 1
        return digits(cursor) > 0
    return True


cdef Py_ssize_t digits(Cursor* cursor) noexcept nogil:
    """Skip digits; 0: none, or more than are sure to be read everywhere."""
    cdef const char* start = cursor.at
    while cursor.at < cursor.end and 48 <= cursor.at[0] <= 57:
        cursor.at += 1
    return cursor.at - start if cursor.at - start <= NUMBER_CHARS_MAX else 0


cdef bint null(Cursor* cursor) noexcept nogil:
    return literal(cursor, b"null", 4)


cdef bint literal(Cursor* cursor, const char* word, Py_ssize_t size) noexcept nogil:
    if peek(cursor) != word[0] or cursor.end - cursor.at < size:
        return False
    if memcmp(cursor.at, word, size) != 0:
        return False
    cursor.at += size
    return True


cdef bint sign(Cursor* cursor, char expected) noexcept nogil:
    """Take the character `expected`, if it is the next."""
    if peek(cursor) != expected:
        return False
    cursor.at += 1
    return True


cdef bint at_end(Cursor* cursor) noexcept nogil:
    peek(cursor)
    return cursor.at == cursor.end


cdef inline char peek(Cursor* cursor) noexcept nogil:
    """The next character that is no white space; NUL, which no value has, at the end."""
    cdef char c
    while cursor.at < cursor.end:
        c = cursor.at[0]
        if c != c' ' and c != c'\n' and c != c'\r' and c != c'\t':
            return c
        cursor.at += 1
    return 0


cdef bint string(Cursor* cursor, Slice* found) noexcept nogil:
    """A string whose escapes and UTF-8 are valid throughout."""
    cdef const char* at
    cdef uint8_t byte
    cdef int size
    if not sign(cursor, QUOTE):
        return False
    at = found.data = cursor.at
    found.escaped = False
    while at < cursor.end:
        byte = <uint8_t>at[0]
        size = 1
        if byte == QUOTE:
            found.size = at - found.data
            cursor.at = at + 1
            return True
        if byte == BACKSLASH:
            found.escaped = True
            size = escape_size(at, cursor.end)
        elif byte >= 0x80:
            size = character_size(at, cursor.end)
        elif byte < 0x20:
            return False
        if size == 0:
            return False
        at += size
    return False


cdef int escape_size(const char* at, const char* end) noexcept nogil:
    """Bytes of the escape at `at`, a surrogate pair being one; 0: not valid."""
    cdef int unit
    if end - at < 2:
        return 0
    if at[1] != c'u':
        return 2 if short_escape(at[1]) else 0
    unit = unit_at(at, end)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return 0
    if unit < 0xD800 or unit > 0xDFFF:
        return 6
    return 12 if 0xDC00 <= unit_at(at + 6, end) <= 0xDFFF else 0


cdef int unit_at(const char* at, const char* end) noexcept nogil:
    r"""The UTF-16 code unit that "\uXXXX" at `at` means; -1: there is none."""
    cdef int index, unit = 0
    cdef char c
    if end - at < 6 or at[0] != BACKSLASH or at[1] != c'u':
        return -1
    for index in range(2, 6):
        c = at[index]
        if 48 <= c <= 57:
            unit = unit * 16 + c - 48
        elif 65 <= (c & ~32) <= 70:
            unit = unit * 16 + (c & ~32) - 55
        else:
            return -1
    return unit


cdef char short_escape(char c) noexcept nogil:
    """The character that a backslash and `c` mean; NUL: none."""
    if c == QUOTE or c == BACKSLASH or c == c'/':
        return c
    if c == c'n':
        return 10
    if c == c't':
        return 9
    if c == c'r':
        return 13
    if c == c'b':
        return 8
    if c == c'f':
        return 12
    return 0


cdef int character_size(const char* at, const char* end) noexcept nogil:
    """Bytes of the UTF-8 character at `at`, which is not ASCII; 0: not valid (RFC 3629, section 4)."""
    cdef const uint8_t* byte = <const uint8_t*>at
    cdef Py_ssize_t left = end - at
    if 0xC2 <= byte[0] <= 0xDF:
        return 2 if left > 1 and follows(byte[1]) else 0
    if 0xE0 <= byte[0] <= 0xEF:
        if left < 3 or not follows(byte[1]) or not follows(byte[2]):
            return 0
        if (byte[0] == 0xE0 and byte[1] < 0xA0) or (byte[0] == 0xED and byte[1] > 0x9F):
            return 0  # longer than needed, or a surrogate
        return 3
    if 0xF0 <= byte[0] <= 0xF4:
        if left < 4 or not follows(byte[1]) or not follows(byte[2]) or not follows(byte[3]):
            return 0
        if (byte[0] == 0xF0 and byte[1] < 0x90) or (byte[0] == 0xF4 and byte[1] > 0x8F):
            return 0  # longer than needed, or beyond Unicode
        return 4
    return 0


cdef inline bint follows(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef Py_ssize_t unescape(const Slice* text, char* out) noexcept nogil:
    """Write what `text` means, which `string` has found valid, to `out`; its size, never larger.

    `out` may be where `text` stands, or before it.
    """
    cdef const char* at = text.data
    cdef const char* end = text.data + text.size
    cdef char* start = out
    cdef uint32_t character
    while at < end:
        if at[0] != BACKSLASH:
            out[0] = at[0]
            out += 1
            at += 1
        elif at[1] != c'u':
            out[0] = short_escape(at[1])
            out += 1
            at += 2
        else:
            character = unit_at(at, end)
            at += 6
            if 0xD800 <= character <= 0xDBFF:
                character = 0x10000 + (character - 0xD800 << 10) + (unit_at(at, end) - 0xDC00)
                at += 6
            out += write_utf8(character, <uint8_t*>out)
    return out - start


cdef int write_utf8(uint32_t character, uint8_t* out) noexcept nogil:
    if character < 0x80:
        out[0] = character
        return 1
    if character < 0x800:
        out[0] = 0xC0 | character >> 6
        out[1] = 0x80 | character & 0x3F
        return 2
    if character < 0x10000:
        out[0] = 0xE0 | character >> 12
        out[1] = 0x80 | character >> 6 & 0x3F
        out[2] = 0x80 | character & 0x3F
        return 3
    out[0] = 0xF0 | character >> 18
    out[1] = 0x80 | character >> 12 & 0x3F
    out[2] = 0x80 | character >> 6 & 0x3F
    out[3] = 0x80 | character & 0x3F
    return 4


def openai_text(bytes data not None, *, bint id_known=True):
    return text_of(scan_openai, data, id_known)


def anthropic_text(bytes data not None):
    return text_of(scan_anthropic, data, True)


def bedrock_text(bytes data not None):
    return text_of(scan_bedrock, data, True)


cdef object text_of(DeltaScan scan, bytes data, bint id_known):
    cdef Slice text
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    # A copy without the NUL behind each bytes object: as in a stream, nothing ends it but its size.
    cdef char* copy = <char*>malloc(size or 1)
    cdef int found
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, PyBytes_AS_STRING(data), size)
        found = scan(copy, size, id_known, &text)
        if found == DELTA_TEXT:
            return PyUnicode_DecodeUTF8(copy, unescape(&text, copy), NULL)
        return "" if found == DELTA_NOTHING else None
    finally:
        free(copy)
