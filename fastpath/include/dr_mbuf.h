/* Members of rte_mbuf that stand in anonymous unions, and the first byte of a packet.
 * Why C: Cython cannot name a member of an anonymous union, nor expand rte_pktmbuf_mtod, a typed macro. */
#ifndef DR_MBUF_H
#define DR_MBUF_H

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include <rte_mbuf.h>

static inline uint8_t *dr_data(const struct rte_mbuf *m) { return rte_pktmbuf_mtod(m, uint8_t *); }
/* pkt_len in the low half, data_len above it, by one load. */
static_assert(offsetof(struct rte_mbuf, data_len) == offsetof(struct rte_mbuf, pkt_len) + 4, "they are neighbours");
static inline uint64_t dr_lengths(const struct rte_mbuf *m) { uint64_t v; memcpy(&v, &m->pkt_len, 8); return v; }
static inline uint32_t dr_rss(const struct rte_mbuf *m) { return m->hash.rss; }
/* A word of ours beside the hash, which stays: a parked packet must choose the member that it chose before. */
static inline uint32_t dr_note(const struct rte_mbuf *m) { return m->hash.fdir.hi; }
static inline void dr_set_note(struct rte_mbuf *m, uint32_t v) { m->hash.fdir.hi = v; }

#endif
