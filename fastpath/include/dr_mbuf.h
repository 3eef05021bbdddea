/* Members of rte_mbuf that stand in anonymous unions, and the first byte of a packet.
 * Why C: Cython cannot name a member of an anonymous union, nor expand rte_pktmbuf_mtod, a typed macro. */
#ifndef DR_MBUF_H
#define DR_MBUF_H

#include <rte_mbuf.h>

static inline uint8_t *dr_data(const struct rte_mbuf *m) { return rte_pktmbuf_mtod(m, uint8_t *); }
static inline uint32_t dr_rss(const struct rte_mbuf *m) { return m->hash.rss; }
/* A word of ours beside the hash, which stays: a parked packet must choose the member that it chose before. */
static inline uint32_t dr_note(const struct rte_mbuf *m) { return m->hash.fdir.hi; }
static inline void dr_set_note(struct rte_mbuf *m, uint32_t v) { m->hash.fdir.hi = v; }

#endif
