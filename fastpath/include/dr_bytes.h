/* Unaligned network-order loads and stores.
 * Why C: in Cython a memcpy of two bytes and a byte swap hide what is meant; here both compile to one move. */
#ifndef DR_BYTES_H
#define DR_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint16_t dr_get_be16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t dr_get_be32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint64_t dr_get_be64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline void dr_put_be16(uint8_t *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }
static inline void dr_put_be32(uint8_t *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }

/* Six bytes in memory order as the low 48 bits of a word, as the layout stores MACs. Reads 8 bytes at p. */
static inline uint64_t dr_get_mac(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v & 0x0000ffffffffffffULL; }
/* Destination and source MAC: 12 bytes at p. */
static inline void dr_put_macs(uint8_t *p, uint64_t dst, uint64_t src) {
    uint64_t first = (dst & 0x0000ffffffffffffULL) | (src << 48);
    uint32_t rest = (uint32_t)(src >> 16);
    memcpy(p, &first, 8);
    memcpy(p + 8, &rest, 4);
}

/* RFC 1071 over len bytes, continued from sum, not complemented; 16-bit words as they lie in memory. */
static inline uint32_t dr_sum(const uint8_t *p, uint32_t len, uint32_t sum) {
    uint16_t w;
    for (; len > 1; len -= 2, p += 2) { memcpy(&w, p, 2); sum += w; }
    if (len) { w = 0; memcpy(&w, p, 1); sum += w; }
    return sum;
}
static inline uint16_t dr_fold(uint32_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

#endif
