/* Why C: rx_adv_conf is an anonymous struct inside rte_eth_conf, which Cython cannot declare; and dev_flags is const. */
#ifndef DR_PORT_H
#define DR_PORT_H

#include <rte_ethdev.h>

static inline void dr_set_rss_functions(struct rte_eth_conf *conf, uint64_t functions) {
    conf->rx_adv_conf.rss_conf.rss_hf = functions;
}

/* net_tap says that it has a link interrupt (at least up to DPDK 22.11), and tells none of its callbacks: DPDK's bonding
 * driver would wait for it for ever. Without this flag it looks at the link itself. */
static inline void dr_deny_link_interrupt(const struct rte_eth_dev_info *info) {
    *(uint32_t *)(uintptr_t)info->dev_flags &= ~(uint32_t)RTE_ETH_DEV_INTR_LSC;
}

#endif
