"""Bonds: one DPDK device made of several, by DPDK's bonding driver.

The driver configures, starts and stops its members, and gives them its MAC. It runs in the callers' bursts, and in
EAL's interrupt thread, which looks at the links of members without a link interrupt every 10 ms and advances LACP every
100 ms. With LACP (IEEE 802.1AX clause 6) it takes LACPDUs out of what it receives, and sends its own in the next burst
of anybody who transmits, if only an empty one: a worker sees to that (stages/transmit.pxd).

Of a bond with LACP the link is up while a member distributes: the driver says so as soon as a member has a link, long
before the other side takes packets.

Called by the main thread.
"""
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset

from dpdkrouter.errors import FastPathError
from fastpath.dpdk.eal cimport rte_strerror
from fastpath.dpdk.eth_bond cimport (BALANCE_XMIT_POLICY_LAYER2, BALANCE_XMIT_POLICY_LAYER23,
                                     BALANCE_XMIT_POLICY_LAYER34, BONDING_MODE_8023AD, BONDING_MODE_ACTIVE_BACKUP,
                                     BONDING_MODE_BALANCE, STATE_COLLECTING, STATE_DISTRIBUTING, member_info,
                                     rte_eth_bond_8023ad_slave_info, rte_eth_bond_active_slaves_get,
                                     rte_eth_bond_create, rte_eth_bond_mac_address_set, rte_eth_bond_primary_get,
                                     rte_eth_bond_primary_set, rte_eth_bond_slave_add, rte_eth_bond_xmit_policy_set)
from fastpath.dpdk.ethdev cimport (RTE_ETH_SPEED_NUM_UNKNOWN, dr_deny_link_interrupt, rte_eth_dev_close,
                                   rte_eth_dev_get_port_by_name, rte_eth_dev_info, rte_eth_dev_info_get,
                                   rte_eth_dev_socket_id, rte_eth_dev_stop, rte_eth_link, rte_eth_link_get_nowait,
                                   rte_ether_addr)
from fastpath.layout cimport (DR_MEMBER_ACTIVE, DR_MEMBER_COLLECTING, DR_MEMBER_DISTRIBUTING, DR_MEMBER_LINK,
                              dr_bond_member, dr_port_state)
from fastpath.port cimport missing_device

cdef enum:
    ALL_PORTS = 32               # RTE_MAX_ETHPORTS

_MODES = {"active-backup": BONDING_MODE_ACTIVE_BACKUP, "balance": BONDING_MODE_BALANCE, "lacp": BONDING_MODE_8023AD}
_POLICIES = {"l2": BALANCE_XMIT_POLICY_LAYER2, "l23": BALANCE_XMIT_POLICY_LAYER23, "l34": BALANCE_XMIT_POLICY_LAYER34}


cdef class Bond:
    """A bond that is not configured or started yet: Router.open_port() does that, with `device`."""

    def __init__(self, name: str, members: list[str], mode: str, policy: str, primary: str, mtu: int,
                 mac: bytes) -> None:
        """name: the port's. members: devices that EAL has. mode, policy: as the configuration writes them. primary:
        the member to prefer; empty: none. mtu: what the members must carry. mac: 6 bytes; empty: the first member's,
        or the primary's."""
        cdef uint16_t member
        cdef rte_ether_addr address
        cdef int rc
        self.device = f"net_bonding_{name}"
        self.lacp = mode == "lacp"
        self.alone = mode == "active-backup"
        self.names = list(members)
        self.members = [find(name, device, mtu) for device in members]
        rc = rte_eth_bond_create(self.device.encode(), _MODES[mode], max(rte_eth_dev_socket_id(self.members[0]), 0))
        if rc < 0:
            raise FastPathError(f"port {name}: the bond cannot be made: {rte_strerror(-rc).decode()}")
        self.dev = rc
        if mac:
            memcpy(&address, <const char *>mac, sizeof(address))
            rte_eth_bond_mac_address_set(self.dev, &address)    # before it has members, which get it at the start
        for device, member in zip(members, self.members, strict=True):
            if rte_eth_bond_slave_add(self.dev, member) != 0:
                raise FastPathError(f"port {name}: DPDK's bonding driver does not take {device} beside the other "
                                    "members (its lines above say why)")
            if device == primary:
                rte_eth_bond_primary_set(self.dev, member)
        if not self.alone:
            rte_eth_bond_xmit_policy_set(self.dev, _POLICIES[policy])

    cdef int describe(self, dr_port_state *state) except -1:
        """What stays as it is: the members' names."""
        cdef uint32_t i
        cdef bytes device
        for i in range(len(self.names)):
            device = self.names[i].encode()[:sizeof(state.member[i].device) - 1]
            memcpy(state.member[i].device, <const char *>device, len(device))
        state.members = len(self.names)
        return 0

    cdef int update(self, dr_port_state *state) except -1:
        """The members' states, as the driver has them now."""
        cdef uint16_t active[ALL_PORTS]
        cdef uint32_t i, flags
        cdef rte_eth_link link
        cdef member_info info
        cdef dr_bond_member *m
        cdef int n = rte_eth_bond_active_slaves_get(self.dev, active, ALL_PORTS)
        linked = [active[k] for k in range(n)]
        for i in range(state.members):
            m = &state.member[i]
            flags = 0
            memset(&link, 0, sizeof(link))
            memset(&info, 0, sizeof(info))
            if rte_eth_link_get_nowait(self.members[i], &link) == 0 and link.link_status:
                flags |= DR_MEMBER_LINK
            if self.lacp:
                if rte_eth_bond_8023ad_slave_info(self.dev, self.members[i], &info) == 0:
                    flags |= DR_MEMBER_COLLECTING if info.actor_state & STATE_COLLECTING else 0
                    flags |= DR_MEMBER_DISTRIBUTING if info.actor_state & STATE_DISTRIBUTING else 0
                    flags |= DR_MEMBER_ACTIVE if info.actor_state & STATE_DISTRIBUTING else 0
            elif self.members[i] in linked and (
                    not self.alone or self.members[i] == rte_eth_bond_primary_get(self.dev)):
                flags |= DR_MEMBER_ACTIVE
            m.link_changes += (m.flags ^ flags) & DR_MEMBER_LINK != 0
            m.speed_mbps = link.link_speed if flags & DR_MEMBER_LINK and (
                link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN) else 0
            memcpy(m.partner, info.partner.system.addr_bytes, sizeof(m.partner))
            m.flags = flags
        return 0

    cdef int close(self) except -1:
        """Stop and close the bond, which gives the members back the MACs that they came with, and then them."""
        rte_eth_dev_stop(self.dev)
        rte_eth_dev_close(self.dev)
        for member in self.members:
            rte_eth_dev_stop(member)
            rte_eth_dev_close(member)
        return 0


cdef object find(str name, str device, uint32_t mtu):
    """DPDK's port id of a member that carries packets of `mtu` bytes."""
    cdef uint16_t dev
    cdef rte_eth_dev_info info
    if rte_eth_dev_get_port_by_name(device.encode(), &dev) != 0:
        raise missing_device(name, device)
    if rte_eth_dev_info_get(dev, &info) != 0:
        raise FastPathError(f"port {name}: {device} does not say what it can do")
    if info.driver_name == b"net_tap":
        dr_deny_link_interrupt(&info)
    if info.max_mtu < mtu:
        raise FastPathError(f"port {name}: found mtu {mtu}: {device} carries packets of at most {info.max_mtu} bytes")
    return dev


cdef bint distributes(uint16_t dev) noexcept nogil:
    """Whether a bond with LACP has a member that the other side takes packets from."""
    cdef uint16_t active[ALL_PORTS]
    cdef member_info info
    cdef int k
    for k in range(rte_eth_bond_active_slaves_get(dev, active, ALL_PORTS)):
        if rte_eth_bond_8023ad_slave_info(dev, active[k], &info) == 0 and info.actor_state & STATE_DISTRIBUTING:
            return True
    return False
