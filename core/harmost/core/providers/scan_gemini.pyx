"""Reads the common piece of Gemini's answer; see scan_gemini.pyi.

Source: google.ai.generativelanguage, `GenerateContentResponse`; the fields as in gemini_answer.py.
{"candidates": [{"content": {"parts": [{"text"}], "role"}, "index": 0}], "usageMetadata", "responseId", ...}
"""

from libc.string cimport memset

from harmost.core.providers.scan_delta cimport (
    DELTA_NOTHING,
    DELTA_TEXT,
    DELTA_UNKNOWN,
    Cursor,
    Field,
    Found,
    Slice,
    at_end,
    members,
    null,
    sign,
    string,
    text_of,
    value,
)

cdef Field[5] CHUNK = [
    Field(b"candidates", 10), Field(b"promptFeedback", 14), Field(b"error", 5),
    Field(b"responseId", 10), Field(b"usageMetadata", 13),
]
cdef Field[4] CANDIDATE = [
    Field(b"content", 7), Field(b"finishReason", 12), Field(b"index", 5),
    Field(b"finishMessage", 13),
]
cdef Field[1] CONTENT = [Field(b"parts", 5)]
cdef Field[5] PART = [
    Field(b"text", 4), Field(b"thought", 7), Field(b"thoughtSignature", 16),
    Field(b"functionCall", 12), Field(b"inlineData", 10),
]


cdef int scan_gemini(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil:
    """What `data`, one chunk, holds. Until an id is known, all that may be news is left to the decoder."""
    cdef Cursor cursor = Cursor(data, data + size)
    cdef Found found
    memset(&found, 0, sizeof(Found))
    if not id_known:
        return DELTA_UNKNOWN
    if not members(&cursor, CHUNK, 5, chunk_field, &found) or not at_end(&cursor):
        return DELTA_UNKNOWN
    text[0] = found.text
    return DELTA_TEXT if text.size else DELTA_NOTHING


cdef bint chunk_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return candidates(cursor, found)
    if field == 3:
        return null(cursor) or string(cursor, &found.id)
    if field == 4:
        return value(cursor, 0)
    return null(cursor)


cdef bint candidates(Cursor* cursor, Found* found) noexcept nogil:
    """At most one; several are left to the whole decoder."""
    if not sign(cursor, c'['):
        return False
    if sign(cursor, c']'):
        return True
    return members(cursor, CANDIDATE, 4, candidate_field, found) and sign(cursor, c']')


cdef bint candidate_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or members(cursor, CONTENT, 1, content_field, found)
    if field == 2:
        return sign(cursor, c'0')  # whatever follows it but a comma or brace is unknown
    return null(cursor)


cdef bint content_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    """At most one part."""
    if not sign(cursor, c'['):
        return False
    if sign(cursor, c']'):
        return True
    return members(cursor, PART, 5, part_field, found) and sign(cursor, c']')


cdef bint part_field(Cursor* cursor, int field, Found* found) noexcept nogil:
    if field == 0:
        return null(cursor) or string(cursor, &found.text)
    return null(cursor)


def gemini_text(bytes data not None, *, bint id_known=True):
    return text_of(scan_gemini, data, id_known)
