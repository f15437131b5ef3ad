/* Monotonic time, and the stamp that travels in a token's text: `@`, 16 hex digits, nanoseconds.
 *
 * Provider and load run on one machine, so one clock serves both ends.
 */
#ifndef LOAD_CLOCK_H
#define LOAD_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { STAMP_DIGITS = 16, STAMP_BYTES = 1 + STAMP_DIGITS };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Write `time_ns` as 16 hex digits. */
static inline void write_digits(uint8_t *to, uint64_t time_ns) {
    for (int i = STAMP_DIGITS - 1; i >= 0; i--, time_ns >>= 4) to[i] = "0123456789abcdef"[time_ns & 15];
}

/* Time of the next stamp in `n` bytes from `*from`, which moves behind it; 0: there is none. */
static inline uint64_t next_stamp(const uint8_t **from, size_t n) {
    const uint8_t *at = *from, *end = at + n;
    while ((at = memchr(at, '@', (size_t)(end - at))) && end - at >= STAMP_BYTES) {
        uint64_t time_ns = 0;
        int i = 1;
        for (; i <= STAMP_DIGITS; i++) {
            uint8_t c = at[i];
            if (c >= '0' && c <= '9') time_ns = time_ns << 4 | (uint64_t)(c - '0');
            else if (c >= 'a' && c <= 'f') time_ns = time_ns << 4 | (uint64_t)(c - 'a' + 10);
            else break;
        }
        at += i;
        if (i > STAMP_DIGITS) return *from = at, time_ns;
    }
    return *from = end, 0;
}

#endif
