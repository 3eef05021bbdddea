/* Why C: rx_adv_conf is an anonymous struct inside rte_eth_conf, which Cython cannot declare. */
#ifndef DR_PORT_H
#define DR_PORT_H

#include <rte_ethdev.h>

static inline void dr_set_rss_functions(struct rte_eth_conf *conf, uint64_t functions) {
    conf->rx_adv_conf.rss_conf.rss_hf = functions;
}

#endif
