"""C face of scratch.pyx: memory that is given piece by piece and taken back at once."""

from harmost.core.policy.cel.value cimport Value

cdef struct Block

cdef struct Block:
    Block* before
    size_t used
    size_t size

cdef struct Scratch:
    Block* last
    size_t bytes_left
    size_t bytes_max
    size_t block_bytes    # of a new block, at least

cdef void* take(Scratch* scratch, size_t size) noexcept nogil
cdef Value* take_values(Scratch* scratch, size_t count) noexcept nogil
cdef void reset(Scratch* scratch) noexcept nogil
cdef void release(Scratch* scratch) noexcept nogil
