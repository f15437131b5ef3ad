/* Bytes that wait: appended at the end, taken from the beginning. Out of memory ends the process. */
#ifndef LOAD_BUFFER_H
#define LOAD_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    uint8_t *bytes;
    size_t begin, end, room;
};

static inline void append(struct buffer *b, const void *bytes, size_t n) {
    if (b->begin == b->end) b->begin = b->end = 0;
    if (b->end + n > b->room) {
        b->room = (b->end + n) * 2;
        b->bytes = realloc(b->bytes, b->room);
        if (!b->bytes) abort();
    }
    memcpy(b->bytes + b->end, bytes, n);
    b->end += n;
}

static inline size_t held(const struct buffer *b) { return b->end - b->begin; }

#endif
