"""What one model's tokenizer makes of each group of characters, learned from what it reported.

A Kalman filter over relative errors: each report moves the weights of what the text had most of and
what is known least, and a change of tokenizer is followed since doubt grows back a little each time.

Source: R. E. Kalman, "A new approach to linear filtering and prediction problems", 1960, with a
random walk of the weights as its model and one observation at a time.
"""

from libc.stdint cimport int64_t

from harmost.core.tokens.measure cimport GROUPS_COUNT, Shape, Sums

# A group may cost so many times what the table says, and a hidden prompt so many requests' worth.
cdef double GROUP_MIN = 0.125, GROUP_MAX = 8.0
cdef double MESSAGE_TOKENS = 4.0, MESSAGE_MAX = 8.0
cdef double REQUEST_TOKENS = 3.0, REQUEST_MAX = 1000.0
# At first a weight may be wrong by a third; a request's is a template that nobody knows.
cdef double GROUP_DOUBT = 0.1, REQUEST_DOUBT = 4.0
cdef double NOISE = 0.0064  # of a report: eight percent of what the features can tell
cdef double DRIFT = 1e-5    # by which doubt grows at each report
# A report moves no weight as if it were further off than this: one wrong number does little harm.
cdef double SURPRISE_MAX = 0.5


cdef double doubt_at_first(int feature) noexcept nogil:
    return REQUEST_DOUBT if feature == REQUEST else GROUP_DOUBT


cdef void doubt_open(Fit* fit) noexcept nogil:
    cdef int row, column
    for row in range(FEATURES):
        for column in range(FEATURES):
            fit.doubt[row][column] = doubt_at_first(row) if row == column else 0.0


cdef void fit_open(Fit* fit) noexcept nogil:
    """As the table says, and nothing learned."""
    cdef int feature
    for feature in range(FEATURES):
        fit.weights[feature] = 1.0
    doubt_open(fit)


cdef inline double feature_of(const Sums* sums, int64_t messages, int feature) noexcept nogil:
    if feature == MESSAGES:
        return <double> messages * MESSAGE_TOKENS
    if feature == REQUEST:
        return REQUEST_TOKENS
    return <double> sums.millitokens[feature] / 1000.0


cdef double fit_tokens(const Fit* fit, const Sums* sums, int64_t messages) noexcept nogil:
    """What the model would report, more than 0."""
    cdef double tokens = 0.0
    cdef int feature
    for feature in range(FEATURES):
        tokens += fit.weights[feature] * feature_of(sums, messages, feature)
    return tokens


cdef inline double within(double value, double least, double most) noexcept nogil:
    return least if value < least else most if value > most else value


cdef void fit_learn(Fit* fit, const Sums* sums, int64_t messages, int64_t tokens) noexcept nogil:
    """Move the weights towards `tokens` (> 0), as reported."""
    # INVARIANT: weights stay within their bounds; the doubt is symmetric, each part computed once.
    cdef double[FEATURES] share, pull
    cdef double surprise = 1.0, spread = NOISE
    cdef int row, column
    for row in range(FEATURES):
        share[row] = feature_of(sums, messages, row) / <double> tokens
        surprise -= fit.weights[row] * share[row]
    for row in range(FEATURES):
        pull[row] = 0.0
        for column in range(FEATURES):
            pull[row] += fit.doubt[row][column] * share[column]
        spread += pull[row] * share[row]
    if spread < NOISE:  # rounding has eaten what was known of the doubt: begin it anew
        doubt_open(fit)
        return
    surprise = within(surprise, -SURPRISE_MAX, SURPRISE_MAX)
    for row in range(FEATURES):
        fit.weights[row] += pull[row] / spread * surprise
        for column in range(row, FEATURES):
            fit.doubt[row][column] -= pull[row] * pull[column] / spread
            fit.doubt[column][row] = fit.doubt[row][column]
        if fit.doubt[row][row] < doubt_at_first(row):
            fit.doubt[row][row] += DRIFT
    for row in range(GROUPS_COUNT):
        fit.weights[row] = within(fit.weights[row], GROUP_MIN, GROUP_MAX)
    fit.weights[MESSAGES] = within(fit.weights[MESSAGES], 0.0, MESSAGE_MAX)
    fit.weights[REQUEST] = within(fit.weights[REQUEST], 0.0, REQUEST_MAX)


cdef class ModelFit:
    """One model's weights; see fit.pyi."""

    def __cinit__(self):
        fit_open(&self.fit)

    def tokens(self, Shape shape not None) -> float:
        return fit_tokens(&self.fit, &shape.sums, shape.messages)

    def learn(self, Shape shape not None, int64_t tokens) -> None:
        if tokens <= 0:
            raise ValueError(f"a report of `{tokens}` tokens teaches nothing: state more than 0")
        fit_learn(&self.fit, &shape.sums, shape.messages, tokens)

    @property
    def weights(self) -> tuple:
        return tuple([self.fit.weights[feature] for feature in range(FEATURES)])
