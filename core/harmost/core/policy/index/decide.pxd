# From the lanes that survive to a decision; see decide.pyi.

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from harmost.core.policy.index.index cimport Index
from harmost.core.policy.index.residual cimport Residuals

cdef enum:
    BITS = 64                # of a mask: CANDIDATES_MAX
    LINE_BYTES = 64          # of the cache
    AHEAD = 16               # lanes: how far before its use memory is asked for
    LEVELS = 16              # of a tenant path, "" included: more than TENANT_DEPTH_MAX

cdef enum Flag:
    UNMET = 1       # the lane says where `require` fails, not where the rule matches
    DOUBT = 2       # an error may have a say in it
    RESIDUAL = 4    # it has conditions that no index knows

# 64 bytes: one line of the cache.
cdef struct Rule:
    PyObject* named          # its RuleHit, kept alive by the Decider
    int64_t priority
    int64_t output_tokens_max
    int64_t usd_nanos_max
    int64_t expires_s        # 0: never
    uint64_t redactions      # bits
    uint8_t level            # of its tenant; "" is 0
    uint8_t allows
    uint8_t denies
    uint8_t requires
    uint8_t doubtful         # `when` may be an error
    uint8_t enforced
    int32_t rollout          # place among the rollouts; -1: for every tenant

# A rule that matched: the candidates where it does, those that fail its `require`, and of each those
# where no error has a say.
cdef struct Hit:
    uint64_t mask
    uint64_t unmet
    uint64_t sure
    uint64_t unmet_sure
    int32_t rule
    uint8_t enforced
    uint8_t named

cdef struct Verdict:
    uint64_t remaining
    uint64_t redactions
    int64_t output_tokens_max
    int64_t usd_nanos_max
    int32_t denied_by            # place in the hits, or -1
    int32_t named
    int32_t taken_by[BITS]       # place in the hits, or -1

cdef class Part:
    cdef readonly Index index
    cdef readonly int number
    cdef readonly bint has_residuals
    cdef int32_t* rule_of
    cdef uint8_t* flags
    cdef uint64_t* extra         # by survivor: what its residuals leave of its mask
    cdef list residuals          # by lane: tuples of (residual, negated, lower)
    cdef object _memory

cdef class View:
    cdef readonly list parts
    cdef bytes outside           # by rollout: 1 if this tenant is not in it

cdef class Candidates:
    cdef readonly tuple names
    cdef readonly tuple given
    cdef readonly list facts
    cdef readonly int count
    cdef uint64_t everything
    cdef object _masks_of
    cdef list _masks             # by number of the part
    cdef dict _names             # by mask
    cdef dict exclusions         # by the rules that took each
    cdef readonly dict answers   # of conditions about candidates alone, for who fills the masks
    cdef const uint64_t* masks(self, Part part) except NULL
    cdef tuple left(self, uint64_t mask)

cdef class Decider:
    cdef Rule* _rules
    cdef Hit* _hits              # of this call, by rule
    cdef Hit* _run               # of one part
    cdef Hit* _merged
    cdef Verdict _verdict
    cdef int _count
    cdef list _named             # RuleHit by rule
    cdef list _elsewhere         # the same for tenants outside its rollout
    cdef dict _redactions        # by bits
    cdef object _redactions_of
    cdef Residuals _residuals
    cdef object _errors_of
    cdef int64_t _generation
    cdef list _memory
    cdef int match(self, View view, dict request, Candidates candidates, int64_t now_s) except -2
    cdef int ask(self, Part part, int survivors, Candidates candidates) except -1
    cdef dict errors(self, dict request, Candidates candidates)
    cdef object hit_of(self, int place, dict errors)
    cdef object result(self, Candidates candidates, dict errors)
    cdef tuple exclusions(self, Candidates candidates, dict errors)
    cdef tuple redactions(self, uint64_t bits)
