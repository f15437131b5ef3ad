# How structs of one type are written as protobuf messages. See form.pyi.

from harmost.core.providers.buffer cimport Buffer

cdef class Form:
    cdef tuple _fields

    cdef int put(self, Buffer* out, object struct) except -1


cdef class Field:
    cdef readonly unsigned int number
    cdef readonly str attribute
    cdef readonly str kind
    cdef tuple _path
    cdef int _kind
    cdef bint _repeated
    cdef bint _mapped
    cdef object _how

    cdef int put(self, Buffer* out, object value) except -1
    cdef int put_entry(self, Buffer* out, object key, object value) except -1
    cdef int put_value(self, Buffer* out, unsigned int number, object value) except -1
