"""Splits an event stream of AWS into a JSON text a message; see scan_aws.pyi.

A message: its size, the size of its headers, CRC-32 of these eight bytes, headers, payload, CRC-32
of all before. Numbers are big-endian.

Source: Smithy, "Amazon Event Stream Specification"; CRC-32 of RFC 1952, section 8.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from harmost.core.providers.buffer cimport Buffer, buffer_add, buffer_clear, buffer_free

from harmost.core.limits import SSE_LINE_BYTES_MAX

cdef enum:
    PRELUDE_BYTES = 12
    MESSAGE_BYTES_MIN = 16  # a prelude and the last checksum
    STRING = 7              # the type of a header that is text

cdef struct Text:
    const char* data  # NULL: there is none
    Py_ssize_t size

cdef struct Heads:
    Text message_type
    Text type     # of an event or an exception; of an error, its code
    Text message  # of an error

cdef uint32_t[8][256] CRC_TABLES  # [n][byte]: what a byte does that n others follow


cdef void fill_crc_tables() noexcept nogil:
    cdef uint32_t crc
    cdef int byte, table, bit
    for byte in range(256):
        crc = byte
        for bit in range(8):
            crc = (crc >> 1) ^ (<uint32_t>0xEDB88320 if crc & 1 else 0)
        CRC_TABLES[0][byte] = crc
    for byte in range(256):
        for table in range(1, 8):
            crc = CRC_TABLES[table - 1][byte]
            CRC_TABLES[table][byte] = (crc >> 8) ^ CRC_TABLES[0][crc & 0xFF]


fill_crc_tables()


cdef uint32_t crc32(const char* data, Py_ssize_t size) noexcept nogil:
    """CRC-32, eight bytes a step. Source: Kounavis and Berry (2005), "slicing-by-8"."""
    cdef const uint8_t* at = <const uint8_t*>data
    cdef const uint8_t* end = at + size
    cdef uint32_t crc = 0xFFFFFFFF
    while end - at >= 8:
        crc ^= <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24
        crc = (
            CRC_TABLES[7][crc & 0xFF]
            ^ CRC_TABLES[6][crc >> 8 & 0xFF]
            ^ CRC_TABLES[5][crc >> 16 & 0xFF]
            ^ CRC_TABLES[4][crc >> 24]
            ^ CRC_TABLES[3][at[4]]
            ^ CRC_TABLES[2][at[5]]
            ^ CRC_TABLES[1][at[6]]
            ^ CRC_TABLES[0][at[7]]
        )
        at += 8
    while at < end:
        crc = (crc >> 8) ^ CRC_TABLES[0][(crc ^ at[0]) & 0xFF]
        at += 1
    return crc ^ <uint32_t>0xFFFFFFFF


cdef inline uint32_t number(const char* data) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>data
    return (
        <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | <uint32_t>at[3]
    )


cdef void aws_open(Aws* aws, Py_ssize_t bytes_max) noexcept nogil:
    memset(aws, 0, sizeof(Aws))
    aws.bytes_max = bytes_max


cdef void aws_close(Aws* aws) noexcept nogil:
    buffer_free(&aws.tail)
    buffer_free(&aws.json)


cdef void aws_feed(Aws* aws, const char* data, Py_ssize_t size) noexcept nogil:
    """Lend `data` until `aws_next` has used it up."""
    aws.at = data
    aws.end = data + size


cdef int aws_next(Aws* aws) noexcept nogil:
    """Go on to the next message. O(bytes) over all calls, however they are cut."""
    cdef const char* message
    cdef Py_ssize_t size
    cdef int status
    buffer_clear(&aws.json)
    if aws.over:
        return aws.over
    if aws.tail.size == 0 and aws.end - aws.at >= PRELUDE_BYTES:
        # Nearly every message lies in the fed bytes: nothing of it is copied.
        status = measure(aws, aws.at)
        if status != AWS_MORE:
            return status
        if aws.end - aws.at >= aws.wanted:
            message = aws.at
            size = aws.wanted
            aws.at += size
            aws.wanted = 0
            return read_message(aws, message, size)
    status = gather(aws)
    if status != AWS_EVENT:
        return status
    aws.wanted = 0
    status = read_message(aws, aws.tail.data, aws.tail.size)
    buffer_clear(&aws.tail)
    return status


cdef int measure(Aws* aws, const char* prelude) noexcept nogil:
    """Say in `wanted` how long the message is that begins with `prelude`."""
    cdef uint32_t size = number(prelude)
    cdef uint32_t heads_size = number(prelude + 4)
    if crc32(prelude, 8) != number(prelude + 8):
        return give_up(aws, AWS_CORRUPT)
    if size < MESSAGE_BYTES_MIN or heads_size > size - MESSAGE_BYTES_MIN:
        return give_up(aws, AWS_CORRUPT)
    if size > aws.bytes_max:
        return give_up(aws, AWS_OVERFLOW)
    aws.wanted = size
    return AWS_MORE


cdef int gather(Aws* aws) noexcept nogil:
    """Move fed bytes into `tail` until a message is whole there (AWS_EVENT), or none are left.

    INVARIANT: `tail` holds at most PRELUDE_BYTES, or `wanted`, which is at most `bytes_max`.
    """
    cdef int status
    if aws.tail.size < PRELUDE_BYTES:
        if not move(aws, PRELUDE_BYTES):
            return AWS_NO_MEMORY
        if aws.tail.size < PRELUDE_BYTES:
            return AWS_MORE
        status = measure(aws, aws.tail.data)
        if status != AWS_MORE:
            return status
    if not move(aws, aws.wanted):
        return AWS_NO_MEMORY
    return AWS_EVENT if aws.tail.size == aws.wanted else AWS_MORE


cdef bint move(Aws* aws, Py_ssize_t size) noexcept nogil:
    """Let `tail` have `size` bytes, as far as there are as many; False: no memory."""
    cdef Py_ssize_t more = min(size - aws.tail.size, aws.end - aws.at)
    if not buffer_add(&aws.tail, aws.at, more):
        return False
    aws.at += more
    return True


cdef int read_message(Aws* aws, const char* message, Py_ssize_t size) noexcept nogil:
    """Check a whole message, and write its JSON."""
    cdef Heads heads
    cdef Text payload
    cdef uint32_t heads_size = number(message + 4)
    memset(&heads, 0, sizeof(Heads))
    if crc32(message, size - 4) != number(message + size - 4):
        return give_up(aws, AWS_CORRUPT)
    if not read_heads(&heads, message + PRELUDE_BYTES, heads_size):
        return give_up(aws, AWS_CORRUPT)
    payload.data = message + PRELUDE_BYTES + heads_size
    payload.size = size - MESSAGE_BYTES_MIN - heads_size
    if not is_name(heads.type):
        return give_up(aws, AWS_CORRUPT)
    if not write_json(aws, &heads, payload):
        return AWS_NO_MEMORY
    aws.event = aws.json.data
    aws.event_size = aws.json.size
    return AWS_EVENT


cdef bint read_heads(Heads* heads, const char* at, Py_ssize_t size) noexcept nogil:
    """Find the headers that say what the message is; False: they are no headers, or not enough."""
    cdef const char* end = at + size
    cdef Text event, exception, code, name, value
    cdef Py_ssize_t value_size
    cdef int type
    memset(&event, 0, sizeof(Text))
    memset(&exception, 0, sizeof(Text))
    memset(&code, 0, sizeof(Text))
    while at < end:
        name.size = <uint8_t>at[0]
        name.data = at + 1
        if end - name.data < name.size + 1:
            return False
        at = name.data + name.size
        type = <uint8_t>at[0]
        at += 1
        value_size = size_of_value(type, at, end - at)
        if value_size < 0 or end - at < value_size:
            return False
        if type == STRING:
            value.data = at + 2
            value.size = value_size - 2
            if (
                not keep(&heads.message_type, b":message-type", name, value)
                or not keep(&event, b":event-type", name, value)
                or not keep(&exception, b":exception-type", name, value)
                or not keep(&code, b":error-code", name, value)
                or not keep(&heads.message, b":error-message", name, value)
            ):
                return False
        at += value_size
    if is_text(heads.message_type, b"event"):
        heads.type = event
    elif is_text(heads.message_type, b"exception"):
        heads.type = exception
    elif is_text(heads.message_type, b"error"):
        heads.type = code
    return heads.type.data != NULL


cdef Py_ssize_t size_of_value(int type, const char* at, Py_ssize_t left) noexcept nogil:
    """Bytes of a header's value, its own length included; -1: there is no such type."""
    if type <= 1:  # true, false
        return 0
    if type == 2:
        return 1
    if type == 3:
        return 2
    if type == 4:
        return 4
    if type == 5 or type == 8:  # a long, a time
        return 8
    if type == 9:  # a UUID
        return 16
    if type > 9 or left < 2:
        return -1
    return 2 + (<Py_ssize_t><uint8_t>at[0] << 8 | <uint8_t>at[1])


cdef bint keep(Text* kept, const char* wanted, Text name, Text value) noexcept nogil:
    """Keep `value` where `name` is the `wanted` one; False: that came before."""
    if not is_text(name, wanted):
        return True
    if kept.data != NULL:
        return False
    kept[0] = value
    return True


cdef bint is_text(Text text, const char* wanted) noexcept nogil:
    """Whether `text` is `wanted`, which ends with NUL."""
    cdef Py_ssize_t size = 0
    while wanted[size]:
        size += 1
    return text.data != NULL and text.size == size and memcmp(text.data, wanted, size) == 0


cdef bint is_name(Text text) noexcept nogil:
    """Whether it can stand in JSON as it is: letters, digits, `-`, `_`, `.`, `:` and `#`."""
    cdef Py_ssize_t at
    cdef uint8_t byte
    for at in range(text.size):
        byte = <uint8_t>text.data[at]
        if not (
            c'a' <= byte <= c'z'
            or c'A' <= byte <= c'Z'
            or c'-' <= byte <= c':' and byte != c'/'
            or byte == c'_'
            or byte == c'#'
        ):
            return False
    return text.size > 0


cdef bint write_json(Aws* aws, Heads* heads, Text payload) noexcept nogil:
    """The text in `json`; False: no memory."""
    cdef bint is_event = is_text(heads.message_type, b"event")
    cdef bint has_room
    if not is_event and not buffer_add(&aws.json, b'{"exception":', 13):
        return False
    has_room = (
        buffer_add(&aws.json, b'{"', 2)
        and buffer_add(&aws.json, heads.type.data, heads.type.size)
        and buffer_add(&aws.json, b'":', 2)
    )
    if has_room and is_text(heads.message_type, b"error"):
        has_room = (
            buffer_add(&aws.json, b'{"message":"', 12)
            and write_escaped(&aws.json, heads.message)
            and buffer_add(&aws.json, b'"}', 2)
        )
    elif has_room and payload.size:
        has_room = buffer_add(&aws.json, payload.data, payload.size)
    elif has_room:
        has_room = buffer_add(&aws.json, b"{}", 2)
    return has_room and buffer_add(&aws.json, b"}}", 1 if is_event else 2)


cdef bint write_escaped(Buffer* json, Text text) noexcept nogil:
    """`text` as the inside of a JSON string; False: no memory."""
    cdef const char* digits = b"0123456789abcdef"
    cdef char[6] escape
    cdef Py_ssize_t at
    cdef uint8_t byte
    memcpy(escape, b"\\u0000", 6)
    for at in range(text.size):
        byte = <uint8_t>text.data[at]
        if byte >= 0x20 and byte != c'"' and byte != c'\\':
            if not buffer_add(json, text.data + at, 1):
                return False
            continue
        escape[4] = digits[byte >> 4]
        escape[5] = digits[byte & 0xF]
        if not buffer_add(json, escape, 6):
            return False
    return True


cdef int give_up(Aws* aws, int why) noexcept nogil:
    aws.over = why
    aws.at = aws.end
    aws_close(aws)
    return why


cdef class AwsScanner:
    """The Python face; see scan_aws.pyi."""

    def __cinit__(self, *, Py_ssize_t bytes_max=SSE_LINE_BYTES_MAX):
        if bytes_max < 1:
            raise ValueError(f"bytes_max must be at least 1: {bytes_max}")
        aws_open(&self._aws, bytes_max)

    def __dealloc__(self):
        aws_close(&self._aws)

    @property
    def overflowed(self) -> bool:
        return self._aws.over == AWS_OVERFLOW

    @property
    def corrupt(self) -> bool:
        return self._aws.over == AWS_CORRUPT

    def feed(self, bytes data not None) -> list:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        # A copy without the NUL behind each bytes object: as in a stream, only its size ends it.
        cdef char* copy = <char*>malloc(size or 1)
        cdef int status = AWS_EVENT
        cdef list events = []
        if copy == NULL:
            raise MemoryError
        try:
            memcpy(copy, PyBytes_AS_STRING(data), size)
            aws_feed(&self._aws, copy, size)
            while status == AWS_EVENT:
                status = aws_next(&self._aws)
                if status == AWS_EVENT:
                    events.append(PyBytes_FromStringAndSize(self._aws.event, self._aws.event_size))
        finally:
            free(copy)
        if status == AWS_NO_MEMORY:
            raise MemoryError
        return events
