/* One pass of the IPv6 lookup for CPUs with AVX-512 VPOPCNTDQ: the arithmetic of 8 or 16 lanes at once.
 * Memory is read lane by lane, into arrays that the vectors then load: a gather costs more than its loads on the CPUs
 * measured (docs/performance.md). The layout is dr_layout.h's, the algorithm that of lookup6.pxd's lookup6_pass.
 * Why C: Cython has no intrinsics. */
#ifndef DR_LOOKUP6_H
#define DR_LOOKUP6_H

#include "dr_layout.h"

#include <stdint.h>

#define DR_LOOKUP6_LANES 64

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define DR_LOOKUP6_VECTOR 1
#include <immintrin.h>

struct dr_lanes6 {
    _Alignas(64) uint64_t hi[DR_LOOKUP6_LANES + 16]; /* of the lanes that go on: the address's upper half */
    _Alignas(64) uint64_t starts[DR_LOOKUP6_LANES];  /* their nodes' bitmaps */
    _Alignas(64) uint32_t node[DR_LOOKUP6_LANES + 16];  /* their nodes, in words of 8 bytes */
    _Alignas(64) uint32_t lane[DR_LOOKUP6_LANES + 16];  /* which they are */
    _Alignas(64) uint32_t at[DR_LOOKUP6_LANES];      /* their entries, in words of 4 bytes */
    _Alignas(64) uint32_t entry[DR_LOOKUP6_LANES];   /* the entries read */
    _Alignas(64) uint32_t leaf[DR_LOOKUP6_LANES + 16];  /* of the lanes that have ended */
    _Alignas(64) uint32_t ended[DR_LOOKUP6_LANES + 16]; /* which they are */
    int going, done;
};

static inline void dr_prefetch_nodes6(const uint8_t *trie, const uint32_t *node, int n) {
    for (int i = 0; i < n; i++)
        __builtin_prefetch(trie + ((uint64_t)node[i] << 3), 0, 3);
}

/* Sort the entries read: lanes that go on are packed to the front, leaves are put aside. */
static inline void dr_part6(struct dr_lanes6 *w, const uint8_t *trie) {
    int kept = 0;
    for (int i = 0; i < w->going; i += 16) {
        __mmask16 used = w->going - i >= 16 ? 0xffff : (__mmask16)((1u << (w->going - i)) - 1);
        __m512i entry = _mm512_load_si512(w->entry + i), lane = _mm512_load_si512(w->lane + i);
        __m512i hi0 = _mm512_load_si512(w->hi + i), hi1 = _mm512_load_si512(w->hi + i + 8);
        __mmask16 on = _mm512_movepi32_mask(entry) & used, off = ~_mm512_movepi32_mask(entry) & used;
        int more = __builtin_popcount(on), first = __builtin_popcount(on & 0xff);
        /* the shift drops DR_IPV6_CHILD and makes words of 8 bytes of DR_IPV6_UNIT */
        _mm512_storeu_si512(w->node + kept, _mm512_maskz_compress_epi32(on, _mm512_slli_epi32(entry, 1)));
        _mm512_storeu_si512(w->lane + kept, _mm512_maskz_compress_epi32(on, lane));
        _mm512_storeu_si512(w->hi + kept, _mm512_maskz_compress_epi64((__mmask8)on, hi0));
        _mm512_storeu_si512(w->hi + kept + first, _mm512_maskz_compress_epi64((__mmask8)(on >> 8), hi1));
        _mm512_storeu_si512(w->leaf + w->done, _mm512_maskz_compress_epi32(off, entry));
        _mm512_storeu_si512(w->ended + w->done, _mm512_maskz_compress_epi32(off, lane));
        w->done += __builtin_popcount(off);
        dr_prefetch_nodes6(trie, w->node + kept, more);
        kept += more;
    }
    w->going = kept;
}

/* One level: bitmaps, then the entries that they lead to. shift: of hi, so that the slot is its low six bits. */
static inline void dr_level6(struct dr_lanes6 *w, const uint8_t *trie, int shift) {
    __m128i count = _mm_cvtsi32_si128(shift);
    for (int i = 0; i < w->going; i++)
        w->starts[i] = *(const uint64_t *)(trie + ((uint64_t)w->node[i] << 3));
    for (int i = 0; i < w->going; i += 8) {
        __m512i slot = _mm512_srl_epi64(_mm512_load_si512(w->hi + i), count);
        __m512i above = _mm512_andnot_si512(slot, _mm512_set1_epi64(63)); /* 63 - slot */
        __m512i upto = _mm512_sllv_epi64(_mm512_load_si512(w->starts + i), above);
        __m256i runs = _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(upto));
        __m256i node = _mm256_load_si256((const __m256i *)(w->node + i));
        /* runs - 1 entries after the bitmap, which is two words of 4 bytes */
        __m256i at = _mm256_add_epi32(_mm256_add_epi32(node, node), _mm256_add_epi32(runs, _mm256_set1_epi32(1)));
        _mm256_store_si256((__m256i *)(w->at + i), at);
        int part = w->going - i < 8 ? w->going - i : 8;
        for (int j = i; j < i + part; j++)
            __builtin_prefetch(trie + ((uint64_t)w->at[j] << 2), 0, 3);
    }
    for (int i = 0; i < w->going; i++)
        w->entry[i] = __atomic_load_n((const uint32_t *)(trie + ((uint64_t)w->at[i] << 2)), __ATOMIC_ACQUIRE);
}

/* group[i] of the address hi[i], lo[i] for n <= DR_LOOKUP6_LANES. */
static inline void dr_lookup6_pass(const uint32_t *root, const uint8_t *trie, const uint64_t *hi, const uint64_t *lo,
                                   uint16_t *group, int n) {
    struct dr_lanes6 w;
    int shift = 64 - DR_IPV6_ROOT_BITS - DR_IPV6_STRIDE;
    for (int i = 0; i < n; i++) {
        w.hi[i] = hi[i];
        w.lane[i] = (uint32_t)i;
        w.entry[i] = __atomic_load_n(root + (hi[i] >> (64 - DR_IPV6_ROOT_BITS)), __ATOMIC_ACQUIRE);
    }
    w.going = n;
    w.done = 0;
    dr_part6(&w, trie);
    for (; w.going; shift -= DR_IPV6_STRIDE) {
        if (shift < 0) /* rare: bits of lo */
            for (int i = 0; i < w.going; i++) {
                uint64_t low = lo[w.lane[i]] >> (64 + shift);
                w.hi[i] = shift > -DR_IPV6_STRIDE ? hi[w.lane[i]] << -shift | low : low;
            }
        dr_level6(&w, trie, shift < 0 ? 0 : shift);
        dr_part6(&w, trie);
    }
    for (int i = 0; i < n; i++)
        group[w.ended[i]] = w.leaf[i] & (DR_MAX_GROUPS - 1);
}
#else
#define DR_LOOKUP6_VECTOR 0
static inline void dr_lookup6_pass(const uint32_t *root, const uint8_t *trie, const uint64_t *hi, const uint64_t *lo,
                                   uint16_t *group, int n) {
    (void)root, (void)trie, (void)hi, (void)lo, (void)group, (void)n;
}
#endif

#endif
