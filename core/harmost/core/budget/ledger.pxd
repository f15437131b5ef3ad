from libc.stdint cimport int64_t

cpdef enum:
    UNITS = 3            # of the contract, from 1: nanodollars, tokens, requests
    COUNTERS_MAX = 1024  # ceilings that one attempt may meet

cdef struct Balance:
    int64_t limit
    int64_t settled
    int64_t held
    int64_t debt
    int64_t leased    # lent to Routers that are alive
    int64_t suspense  # lent, and not known whether it was spent
    int64_t hold_p95  # what 95 of 100 holds do not exceed, an estimate
    int64_t open_holds
    int unit   # 0..UNITS-1
    bint hard

cdef Py_ssize_t reserve_all(
    Balance** balances,
    Py_ssize_t count,
    const int64_t* amounts,
    const int64_t* minimums,
    int64_t* held,
) noexcept nogil

cdef Py_ssize_t close_all(
    Balance** balances, Py_ssize_t count, const int64_t* held, const int64_t* used
) noexcept nogil

cdef class Counter:
    cdef Balance _balance
    cdef readonly int64_t id

cdef class Hold:
    cdef int64_t _held[UNITS]
    cdef readonly tuple counters
    cdef readonly Hold whole
    cdef readonly bint open
