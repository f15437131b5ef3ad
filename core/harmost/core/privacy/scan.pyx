"""Find e-mail addresses and card numbers in a text, in linear time.

Source: ISO/IEC 7812-1 for the check digit; prefixes and lengths as the card schemes publish them.
"""

from harmost.core.privacy.span import Span

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)
    int Py_UNICODE_TODECIMAL(Py_UCS4 character) noexcept nogil
    bint Py_UNICODE_ISALNUM(Py_UCS4 character) noexcept nogil
    bint Py_UNICODE_ISALPHA(Py_UCS4 character) noexcept nogil

# A memory read, but a macro by name, which the yellow check takes for a call into Python.
cdef extern from *:
    """
    static inline Py_UCS4 read_character(int kind, const void *data, Py_ssize_t at) {
        return PyUnicode_READ(kind, data, at);
    }
    """
    Py_UCS4 read_character(int kind, const void* data, Py_ssize_t at) noexcept nogil

cdef enum:
    PREFIX_DIGITS = 4
    # The window that is tried from each group: what makes the scan linear.
    PAN_DIGITS_MAX = 19


cdef struct Issuer:
    int first    # four digits, from
    int last     # to
    int lengths  # bit n: cards of n digits

cdef enum:
    L12_19 = 0xFF000
    L13_16_19 = 1 << 13 | 1 << 16 | 1 << 19
    L14_19 = 0xFC000
    L15 = 1 << 15
    L16 = 1 << 16
    L16_19 = 0xF0000

cdef enum: ISSUERS = 26
cdef Issuer[ISSUERS] issuers = [
    Issuer(604, 604, L12_19),      # Maestro
    Issuer(1800, 1800, L15),       # JCB, old
    Issuer(2131, 2131, L15),       # JCB, old
    Issuer(2200, 2204, L16_19),    # Mir
    Issuer(2221, 2720, L16),       # Mastercard
    Issuer(3000, 3059, L14_19),    # Diners Club
    Issuer(3095, 3095, L14_19),    # Diners Club
    Issuer(3400, 3499, L15),       # American Express
    Issuer(3528, 3589, L16_19),    # JCB
    Issuer(3600, 3699, L14_19),    # Diners Club
    Issuer(3700, 3799, L15),       # American Express
    Issuer(3800, 3999, L14_19),    # Diners Club
    Issuer(4000, 4999, L13_16_19), # Visa
    Issuer(5000, 5099, L12_19),    # Maestro, Dankort, Verve, RuPay
    Issuer(5100, 5599, L16),       # Mastercard
    Issuer(5600, 5899, L12_19),    # Maestro
    Issuer(6000, 6303, L16_19),    # Discover, UnionPay, RuPay, Hipercard
    Issuer(6304, 6304, L12_19),    # Maestro, Laser
    Issuer(6305, 6389, L16_19),    # InterPayment, InstaPayment, Switch
    Issuer(6390, 6390, L12_19),    # Maestro
    Issuer(6391, 6699, L16_19),    # Discover, RuPay, Verve
    Issuer(6700, 6799, L12_19),    # Maestro, Laser, Solo
    Issuer(6800, 6999, L16_19),    # Maestro
    Issuer(8100, 8171, L16_19),    # UnionPay, RuPay
    Issuer(8200, 8299, L16),       # RuPay
    Issuer(9792, 9792, L16),       # Troy
]


def find(str text not None) -> list:
    """Every e-mail address and card number in `text`, in order; see scan.pyi."""
    cdef Text view = Text(PyUnicode_KIND(text), PyUnicode_DATA(text), len(text))
    cdef Found found = Found(0, 0)
    spans = []
    while next_email(&view, found.end, &found):
        spans.append(Span(found.start, found.end, "email"))
    found.end = 0
    while next_pan(&view, found.end, &found):
        spans.append(Span(found.start, found.end, "pan"))
    spans.sort(key=_place)
    return spans


def _place(span):
    return span.start, -span.end  # what holds another comes first


cdef inline Py_UCS4 char_at(const Text* text, Py_ssize_t at) noexcept nogil:
    """The character at `at`, NUL outside the text."""
    if at < 0 or at >= text.length:
        return 0
    return read_character(text.kind, text.data, at)


# E-mail addresses. Between two `@` each character is looked at for the domain of the first and for the
# local part of the second: neither goes past an `@`.


cdef bint next_email(const Text* text, Py_ssize_t at, Found* found) noexcept nogil:
    """The first address whose `@` is at or after `at`; its local part does not reach before `at`."""
    cdef Py_ssize_t sign = at, start, end
    while sign < text.length:
        if is_at_sign(char_at(text, sign)):
            start = local_start(text, sign, at)
            end = domain_end(text, sign + 1)
            if start < sign and end > sign + 1:
                found.start = start
                found.end = end
                return True
        sign += 1
    return False


cdef Py_ssize_t local_start(const Text* text, Py_ssize_t sign, Py_ssize_t low) noexcept nogil:
    """Where the local part before the `@` at `sign` begins; `sign` if there is none."""
    cdef Py_ssize_t start = sign
    while start > low and is_local(char_at(text, start - 1)):
        start -= 1
    # Punctuation before it belongs to the sentence: "...bob@x.com", "'bob@x.com'".
    while start < sign and not is_local_first(char_at(text, start)):
        start += 1
    return start


cdef Py_ssize_t domain_end(const Text* text, Py_ssize_t start) noexcept nogil:
    """Where the longest domain from `start` ends; `start` if there is none."""
    cdef Py_ssize_t label = start, at = start, end = start
    cdef int labels = 0
    while True:
        while Py_UNICODE_ISALNUM(char_at(text, at)) or char_at(text, at) == c'-':
            at += 1
        if at == label:
            return end
        labels += 1
        if labels > 1 and is_top_level(text, label, at):
            end = last_alnum(text, label, at)
        if char_at(text, at) != c'.':
            return end
        at += 1
        label = at


cdef bint is_top_level(const Text* text, Py_ssize_t label, Py_ssize_t end) noexcept nogil:
    return last_alnum(text, label, end) - label > 1 and Py_UNICODE_ISALPHA(char_at(text, label))


cdef Py_ssize_t last_alnum(const Text* text, Py_ssize_t label, Py_ssize_t end) noexcept nogil:
    """`end` without the hyphens before it: "bob@x.com--" ends with "m"."""
    while end > label and char_at(text, end - 1) == c'-':
        end -= 1
    return end


cdef inline bint is_at_sign(Py_UCS4 c) noexcept nogil:
    return c == c'@' or c == 0xFF20 or c == 0xFE6B  # also full width and small


cdef inline bint is_local(Py_UCS4 c) noexcept nogil:
    return is_local_first(c) or c == c'.' or c == c'%' or c == c'-' or c == c"'"


cdef inline bint is_local_first(Py_UCS4 c) noexcept nogil:
    return Py_UNICODE_ISALNUM(c) or c == c'_' or c == c'+'


# Card numbers. Tried from the start of each group of digits, over whole groups only.


cdef bint next_pan(const Text* text, Py_ssize_t at, Found* found) noexcept nogil:
    """The first card number that starts at or after `at`, with all that overlap it."""
    cdef Py_ssize_t start = at, end
    found.start = -1
    while start < text.length:
        if found.start >= 0 and start >= found.end:
            return True
        if starts_group(text, start):
            end = pan_end(text, start)
            if end > start and found.start < 0:
                found.start = start
                found.end = end
            elif end > found.end and found.start >= 0:
                found.end = end
        start += 1
    return found.start >= 0


cdef bint starts_group(const Text* text, Py_ssize_t at) noexcept nogil:
    """Whether a group of digits begins at `at` that is not the decimals of a number."""
    if digit_of(char_at(text, at)) < 0 or digit_of(char_at(text, at - 1)) >= 0:
        return False
    return char_at(text, at - 1) != c'.' or digit_of(char_at(text, at - 2)) < 0


cdef Py_ssize_t pan_end(const Text* text, Py_ssize_t start) noexcept nogil:
    """Where the longest card number from `start` ends; `start` if there is none."""
    cdef int[PAN_DIGITS_MAX] digits
    cdef int count = 0, digit, lengths = 0
    cdef Py_ssize_t at = start, end = start
    while True:
        digit = digit_of(char_at(text, at))
        if digit >= 0:
            if count == PAN_DIGITS_MAX:
                return end
            digits[count] = digit
            count += 1
            at += 1
            if count == PREFIX_DIGITS:
                lengths = lengths_of(digits)
                if lengths == 0:
                    return end
            continue
        # A group ends here.
        if lengths >> count & 1 and has_check_digit(digits, count):
            end = at
        if not is_separator(char_at(text, at)) or digit_of(char_at(text, at + 1)) < 0:
            return end
        at += 1


cdef bint has_check_digit(const int* digits, int count) noexcept nogil:
    """Whether the last digit is right by Luhn's formula."""
    cdef int total = 0, index, value
    for index in range(count):
        value = digits[count - 1 - index]
        if index & 1:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


cdef int lengths_of(const int* digits) noexcept nogil:
    """The lengths of cards with these first four digits, as bits; 0 if no scheme has them."""
    cdef int first = ((digits[0] * 10 + digits[1]) * 10 + digits[2]) * 10 + digits[3]
    cdef int index
    for index in range(ISSUERS):
        if issuers[index].first <= first <= issuers[index].last:
            return issuers[index].lengths
    return 0


cdef inline int digit_of(Py_UCS4 c) noexcept nogil:
    """0 to 9, or -1; digits of every script count, so that full width ones hide nothing."""
    if c < 128:
        return <int>c - 48 if 48 <= c <= 57 else -1
    return Py_UNICODE_TODECIMAL(c)


cdef inline bint is_separator(Py_UCS4 c) noexcept nogil:
    if c < 128:
        return c == c' ' or c == c'-'
    # No-break, figure, thin and narrow spaces; hyphens and dashes; minus sign, full width hyphen.
    return (
        c == 0xA0 or c == 0x2007 or c == 0x2009 or c == 0x202F
        or 0x2010 <= c <= 0x2015 or c == 0x2212 or c == 0xFF0D or c == 0x3000
    )
