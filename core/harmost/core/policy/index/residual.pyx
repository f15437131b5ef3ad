"""Conditions that no index knows, run at most once for a call and candidate; see residual.pyi."""

from libc.stdint cimport uint64_t

from harmost.core.policy.cel.frame cimport Facts, Frame, Schema
from harmost.core.policy.cel.vm cimport Program


cdef class Residuals:
    def __init__(self, programs, asks_candidate, frame, schema):
        cdef Py_ssize_t bytes_each = 8 * max(1, len(programs))
        self._programs, self._asks_candidate = list(programs), list(asks_candidate)
        self._frame, self._schema = frame, schema
        self._memory = [bytearray(bytes_each) for _ in range(3)]
        self._asked_at = <uint64_t*><char*>(<bytearray>self._memory[0])
        self._holds = <uint64_t*><char*>(<bytearray>self._memory[1])
        self._fails = <uint64_t*><char*>(<bytearray>self._memory[2])

    cdef bint of_call(self, dict request):
        """Answer for `request` from now on."""
        self._request, self._used = request, False
        self._call += 1
        return True

    cdef uint64_t mask(self, int which, bint negated, bint lower, list candidates) except? 0:
        """Where the condition, or its opposite, is true, or with not `lower` also where it errs."""
        cdef uint64_t everything = (<uint64_t>-1) >> (64 - max(1, len(candidates)))
        cdef uint64_t found
        if self._asked_at[which] != self._call:
            self.answer(which, candidates)
        found = self._holds[which]
        if negated:
            found = everything & ~(found | self._fails[which])
        return found if lower else found | self._fails[which]

    cdef int answer(self, int which, list candidates) except -1:
        cdef uint64_t everything = (<uint64_t>-1) >> (64 - max(1, len(candidates)))
        cdef int i, truth
        cdef Program program
        if not self._used:
            self._frame.use(self._schema.request(self._request))
            self._used = True
        self._holds[which] = self._fails[which] = 0
        program = <Program>self._programs[which]
        if not self._asks_candidate[which]:
            truth = program.holds(self._frame)
            self._holds[which] = everything if truth == 1 else 0
            self._fails[which] = everything if truth < 0 else 0
        else:
            for i in range(len(candidates)):
                self._frame.use(<Facts>candidates[i])
                truth = program.holds(self._frame)
                if truth == 1:
                    self._holds[which] |= <uint64_t>1 << i
                elif truth < 0:
                    self._fails[which] |= <uint64_t>1 << i
        if self._fails[which]:
            self.failed = True
        self._asked_at[which] = self._call
        return 0
