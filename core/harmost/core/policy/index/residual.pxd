# Conditions that no index knows, run at most once for a call and candidate; see residual.pyi.

from libc.stdint cimport uint64_t

from harmost.core.policy.cel.frame cimport Frame, Schema

cdef class Residuals:
    cdef bint failed              # an answer was an error since it was last set to no
    cdef list _programs
    cdef list _asks_candidate
    cdef Frame _frame
    cdef Schema _schema
    cdef dict _request            # of this call; its facts are made when first needed
    cdef bint _used
    cdef uint64_t* _asked_at      # by condition: the call of its answer
    cdef uint64_t* _holds         # by condition: the candidates where it is true
    cdef uint64_t* _fails         # where it is an error
    cdef uint64_t _call
    cdef object _memory

    cdef bint of_call(self, dict request)
    cdef uint64_t mask(self, int which, bint negated, bint lower, list candidates) except? 0
    cdef int answer(self, int which, list candidates) except -1
