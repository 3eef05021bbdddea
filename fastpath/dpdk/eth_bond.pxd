"""rte_eth_bond.h, rte_eth_bond_8023ad.h: what is used."""
from libc.stdint cimport uint8_t, uint16_t
from fastpath.dpdk.ethdev cimport rte_ether_addr

cdef extern from "rte_eth_bond.h" nogil:
    int BONDING_MODE_ACTIVE_BACKUP
    int BONDING_MODE_BALANCE
    int BONDING_MODE_8023AD
    int BALANCE_XMIT_POLICY_LAYER2
    int BALANCE_XMIT_POLICY_LAYER23
    int BALANCE_XMIT_POLICY_LAYER34
    int rte_eth_bond_create(const char *name, uint8_t mode, uint8_t socket) noexcept
    int rte_eth_bond_slave_add(uint16_t bond, uint16_t member) noexcept
    int rte_eth_bond_mac_address_set(uint16_t bond, rte_ether_addr *mac) noexcept
    int rte_eth_bond_primary_set(uint16_t bond, uint16_t member) noexcept
    int rte_eth_bond_primary_get(uint16_t bond) noexcept
    int rte_eth_bond_xmit_policy_set(uint16_t bond, uint8_t policy) noexcept
    int rte_eth_bond_active_slaves_get(uint16_t bond, uint16_t *members, uint16_t n) noexcept

cdef extern from "rte_eth_bond_8023ad.h" nogil:
    int STATE_COLLECTING
    int STATE_DISTRIBUTING
    struct port_params:
        rte_ether_addr system
    ctypedef struct member_info "struct rte_eth_bond_8023ad_slave_info":
        uint8_t actor_state
        port_params partner
    int rte_eth_bond_8023ad_slave_info(uint16_t bond, uint16_t member, member_info *info) noexcept
