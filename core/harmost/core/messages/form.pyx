"""How structs of one type are written as protobuf messages. See form.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memmove

from harmost.core.providers.buffer cimport Buffer, buffer_add, buffer_free, buffer_reserve

cdef enum:
    INT, BOOL, ENUM, TEXT, BYTES, TIME, MESSAGE, WRITTEN
    # Wire types. Source: protobuf.dev, "Encoding", message structure.
    VARINT = 0
    LENGTH = 2
    VARINT_BYTES_MAX = 10
    NUMBER_MAX = (1 << 29) - 1

NS_PER_S = 1_000_000_000

KINDS = {
    "int": INT,
    "bool": BOOL,
    "enum": ENUM,
    "text": TEXT,
    "bytes": BYTES,
    "time": TIME,
    "message": MESSAGE,
    "written": WRITTEN,
}


cdef inline uint8_t* varint(uint8_t* out, uint64_t number) noexcept nogil:
    while number > 0x7F:
        out[0] = number & 0x7F | 0x80
        number >>= 7
        out += 1
    out[0] = number
    return out + 1


cdef inline bint put_varint(Buffer* out, uint64_t number) noexcept nogil:
    """False: there is no memory, here and below."""
    cdef uint8_t* begin
    if not buffer_reserve(out, VARINT_BYTES_MAX):
        return False
    begin = <uint8_t*>out.data + out.size
    out.size += varint(begin, number) - begin
    return True


cdef inline bint put_int(Buffer* out, unsigned int number, int64_t value) noexcept nogil:
    return put_varint(out, <uint64_t>number << 3 | VARINT) and put_varint(out, <uint64_t>value)


cdef inline bint put_head(Buffer* out, unsigned int number, Py_ssize_t size) noexcept nogil:
    return put_varint(out, <uint64_t>number << 3 | LENGTH) and put_varint(out, size)


cdef inline bint put_bytes(
    Buffer* out, unsigned int number, const char* data, Py_ssize_t size
) noexcept nogil:
    return put_head(out, number, size) and buffer_add(out, data, size)


cdef bint put_time(
    Buffer* out, unsigned int number, int64_t seconds, int64_t nanos
) noexcept nogil:
    """A Timestamp. `nanos`, below a billion, count forward also before 1970."""
    cdef Py_ssize_t begin
    if not put_head(out, number, 0):
        return False
    begin = out.size
    if seconds and not put_int(out, 1, seconds):
        return False
    if nanos and not put_int(out, 2, nanos):
        return False
    out.data[begin - 1] = <char>(out.size - begin)  # below 18: of one byte
    return True


cdef bint end_message(Buffer* out, Py_ssize_t begin) noexcept nogil:
    """Put the size of what stands from `begin` on into the byte before it, with room made for more."""
    cdef Py_ssize_t size = out.size - begin
    cdef uint8_t[VARINT_BYTES_MAX] head
    cdef Py_ssize_t head_size = varint(head, size) - head
    if head_size > 1:
        if not buffer_reserve(out, head_size - 1):
            return False
        memmove(out.data + begin + head_size - 1, out.data + begin, size)
        out.size += head_size - 1
    memmove(out.data + begin - 1, head, head_size)
    return True


cdef inline int check(bint fits) except -1:
    if not fits:
        raise MemoryError
    return 0


cdef class Field:
    def __init__(self, number, attribute, kind, *, how=None, repeated=False, mapped=False):
        if not 0 < number <= NUMBER_MAX:
            raise ValueError(f"a field number is from 1 to {NUMBER_MAX}: {number}")
        self.number, self.attribute, self.kind = number, attribute, kind
        self._kind, self._how = KINDS[kind], how
        self._repeated, self._mapped = repeated, mapped
        self._path = tuple(attribute.split("."))
        fits = {ENUM: hasattr(how, "__getitem__"), MESSAGE: isinstance(how, Form), WRITTEN: callable(how)}
        if not fits.get(self._kind, how is None):
            raise ValueError(f"a {kind} needs another `how`: `{attribute}`")
        if repeated and (mapped or self._kind in (INT, BOOL, ENUM)):
            raise ValueError(f"`{attribute}` cannot be repeated so")  # such are packed

    cdef int put(self, Buffer* out, object value) except -1:
        if value is None:
            return 0
        if self._mapped:
            for key, item in value.items():
                self.put_entry(out, key, item)
        elif self._repeated:
            for item in value:
                self.put_value(out, self.number, item)
        elif self._kind == ENUM:
            if self._how[value]:  # of the number, not of its name: `False` may have one
                self.put_value(out, self.number, value)
        elif value or self._kind >= MESSAGE:
            self.put_value(out, self.number, value)
        return 0

    cdef int put_entry(self, Buffer* out, object key, object value) except -1:
        """One pair of a map: a message of key and value, of which neither is ever left out."""
        cdef Py_ssize_t begin, size
        cdef const char* text = PyUnicode_AsUTF8AndSize(key, &size)
        check(put_head(out, self.number, 0))
        begin = out.size
        check(put_bytes(out, 1, text, size))
        self.put_value(out, 2, value)
        return check(end_message(out, begin))

    cdef int put_value(self, Buffer* out, unsigned int number, object value) except -1:
        cdef Py_ssize_t begin, size
        cdef const char* data
        if self._kind == TEXT:
            data = PyUnicode_AsUTF8AndSize(value, &size)
            return check(put_bytes(out, number, data, size))
        if self._kind == INT:
            return check(put_int(out, number, <int64_t>value))
        if self._kind == ENUM:
            return check(put_int(out, number, <int64_t>self._how[value]))
        if self._kind == BOOL:
            return check(put_int(out, number, 1 if value else 0))
        if self._kind == TIME:
            # Not in C: nanoseconds of 64 bits end in 2262, and an exception may expire later.
            seconds, nanos = divmod(value, NS_PER_S)
            return check(put_time(out, number, <int64_t>seconds, <int64_t>nanos))
        if self._kind == MESSAGE:
            check(put_head(out, number, 0))
            begin = out.size
            (<Form>self._how).put(out, value)
            return check(end_message(out, begin))
        if self._kind == WRITTEN:
            value = self._how(value)
        return check(
            put_bytes(out, number, PyBytes_AS_STRING(<bytes?>value), PyBytes_GET_SIZE(value))
        )


cdef class Form:
    def __init__(self, fields):
        self._fields = tuple(sorted(fields, key=lambda field: field.number))
        if len({field.number for field in self._fields}) != len(self._fields):
            raise ValueError("two fields have one number")

    def write(self, struct) -> bytes:
        cdef Buffer out = Buffer(NULL, 0, 0)
        try:
            self.put(&out, struct)
            return PyBytes_FromStringAndSize(out.data, out.size)
        finally:
            buffer_free(&out)

    cdef int put(self, Buffer* out, object struct) except -1:
        cdef Field field
        cdef object value
        for field in self._fields:
            value = struct
            for name in field._path:
                value = getattr(value, name)
            field.put(out, value)
        return 0
