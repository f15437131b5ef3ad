"""Scratch memory: what evaluations make, and what facts and constants point into.

A zeroed Scratch with `bytes_left` = `bytes_max` and some `block_bytes` is ready. The first block stays through a
reset, so evaluations of the usual kind allocate nothing.
"""

from libc.stdlib cimport free, malloc

cdef size_t ALIGNMENT = 16


cdef void* take(Scratch* scratch, size_t size) noexcept nogil:
    """`size` bytes, aligned for any value; NULL where `bytes_max` or the machine has no more."""
    cdef Block* block = scratch.last
    cdef size_t header = (sizeof(Block) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    cdef size_t wanted
    # INVARIANT: rounding up cannot overflow, since no size beyond `bytes_max` passes here.
    if size > scratch.bytes_left:
        return NULL
    wanted = (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    if wanted > scratch.bytes_left:
        return NULL
    if block == NULL or block.size - block.used < wanted:
        block = <Block*>malloc(header + max(wanted, scratch.block_bytes))
        if block == NULL:
            return NULL
        block.before, block.used, block.size = scratch.last, 0, max(wanted, scratch.block_bytes)
        scratch.last = block
    block.used += wanted
    scratch.bytes_left -= wanted
    return <char*>block + header + block.used - wanted


cdef Value* take_values(Scratch* scratch, size_t count) noexcept nogil:
    """Room for `count` values; NULL as `take`. Never NULL for none."""
    if count > scratch.bytes_left // sizeof(Value):
        return NULL
    return <Value*>take(scratch, max(count, 1) * sizeof(Value))


cdef void reset(Scratch* scratch) noexcept nogil:
    """Take back everything that was given; the first block stays."""
    cdef Block* before
    if scratch.last == NULL:
        return
    while scratch.last.before != NULL:
        before = scratch.last.before
        free(scratch.last)
        scratch.last = before
    scratch.last.used = 0
    scratch.bytes_left = scratch.bytes_max


cdef void release(Scratch* scratch) noexcept nogil:
    """Give everything back to the machine."""
    reset(scratch)
    free(scratch.last)
    scratch.last = NULL
