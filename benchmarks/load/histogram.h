/* Times by High Dynamic Range: 128 buckets for each power of two, so a quantile is right to 0.8 %.
 *
 * Source: G. Tene, HdrHistogram; here without its auto-sizing: any uint64 has a bucket.
 */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { HALF_BITS = 8, HALF = 1 << HALF_BITS, BUCKETS = (64 - HALF_BITS + 1) * HALF };

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t count, highest_ns;
};

static inline void histogram_add(struct histogram *h, uint64_t time_ns) {
    int shift = 0;
    if (time_ns >= HALF) shift = 63 - __builtin_clzll(time_ns) - HALF_BITS + 1;
    /* Above the first HALF, `time_ns >> shift` lies in HALF / 2 .. HALF - 1. */
    h->counts[shift * HALF + (int)(time_ns >> shift)]++;
    h->count++;
    if (time_ns > h->highest_ns) h->highest_ns = time_ns;
}

static inline double histogram_quantile_ms(const struct histogram *h, double q) {
    uint64_t wanted = (uint64_t)((double)h->count * q), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > wanted) {
            /* The upper edge of the bucket: a tail is never told smaller than it was. */
            uint64_t edge_ns = (((uint64_t)(i & (HALF - 1)) + 1) << (i >> HALF_BITS)) - 1;
            return (double)(edge_ns < h->highest_ns ? edge_ns : h->highest_ns) / 1e6;
        }
    }
    return (double)h->highest_ns / 1e6;
}

static inline void histogram_print(const struct histogram *h, const char *name) {
    printf("\"%s\": {\"n\": %lu, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"p999\": %.4f, \"max\": %.4f}",
           name, h->count, histogram_quantile_ms(h, 0.5), histogram_quantile_ms(h, 0.9),
           histogram_quantile_ms(h, 0.99), histogram_quantile_ms(h, 0.999),
           (double)h->highest_ns / 1e6);
}

#endif
