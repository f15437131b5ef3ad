from libc.stdint cimport int64_t

from harmost.core.tokens.measure cimport GROUPS_COUNT, Sums

cdef enum:
    MESSAGES = GROUPS_COUNT     # a feature: one for each message
    REQUEST = GROUPS_COUNT + 1  # a feature: one for each request
    FEATURES = GROUPS_COUNT + 2

cdef struct Fit:
    double[FEATURES] weights
    double[FEATURES][FEATURES] doubt  # covariance of the weights

cdef void fit_open(Fit* fit) noexcept nogil
cdef double fit_tokens(const Fit* fit, const Sums* sums, int64_t messages) noexcept nogil
cdef void fit_learn(Fit* fit, const Sums* sums, int64_t messages, int64_t tokens) noexcept nogil

cdef class ModelFit:
    cdef Fit fit
