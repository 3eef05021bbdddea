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

/* As they lie in memory. */
static inline uint32_t dr_get_32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t dr_get_64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void dr_put_64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline uint32_t dr_swap_32(uint32_t v) { return __builtin_bswap32(v); }
static inline uint64_t dr_swap_64(uint64_t v) { return __builtin_bswap64(v); }
static inline void dr_put_32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

/* Six bytes in memory order as the low 48 bits of a word, as the layout stores MACs. Reads 8 bytes at p. */
static inline uint64_t dr_get_mac(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v & 0x0000ffffffffffffULL; }
/* Destination MAC, source MAC, EtherType (as it lies in memory): 14 bytes at p, by two stores that overlap. */
static inline void dr_put_ether(uint8_t *p, uint64_t dst, uint64_t src, uint64_t type) {
    src |= type << 48;
    memcpy(p, &dst, 8);
    memcpy(p + 6, &src, 8);
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
