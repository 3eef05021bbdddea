"""One DPDK port: as many queues as the device allows, RSS over both families where it has it, promiscuous off.

Nothing else is asked of a device: checksums are the workers' business, links are polled (a driver's link interrupt is
one more thing that a device may lack), and a flow without a hash of the device's is hashed by the worker.

Called by the main thread before workers start.
"""
from libc.errno cimport EINVAL, EOPNOTSUPP
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import logging

from dpdkrouter.errors import FastPathError
from fastpath.dpdk.ethdev cimport (RTE_ETH_MQ_RX_RSS, RTE_ETH_RSS_IP, RTE_ETH_RSS_IPV4, RTE_ETH_RSS_IPV6,
                                   RTE_ETH_RSS_TCP, RTE_ETH_RSS_UDP, RTE_ETH_RX_OFFLOAD_RSS_HASH,
                                   RTE_ETH_RX_OFFLOAD_VLAN_STRIP, RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
                                   RTE_ETH_TX_OFFLOAD_VLAN_INSERT, dr_set_rss_functions, rte_eth_allmulticast_enable,
                                   rte_eth_conf, rte_eth_dev_adjust_nb_rx_tx_desc, rte_eth_dev_close,
                                   rte_eth_dev_configure, rte_eth_dev_default_mac_addr_set, rte_eth_dev_get_mtu,
                                   rte_eth_dev_get_port_by_name, rte_eth_dev_info, rte_eth_dev_info_get,
                                   rte_eth_dev_set_mtu, rte_eth_dev_socket_id, rte_eth_dev_rx_intr_ctl_q_get_fd,
                                   rte_eth_dev_start, rte_eth_dev_stop, rte_eth_macaddr_get,
                                   rte_eth_promiscuous_disable, rte_eth_promiscuous_enable, rte_eth_rx_queue_setup,
                                   rte_eth_tx_queue_setup, rte_ether_addr)
from fastpath.dpdk.mbuf cimport RTE_MBUF_DEFAULT_BUF_SIZE, rte_mempool, rte_pktmbuf_data_room_size
from fastpath.dpdk.eal cimport rte_strerror

cdef enum:
    DESCRIPTORS = 1024
    ETHERNET_MTU = 1500

# Their drivers put tags on in rte_eth_tx_prepare() alone, or have members that do: workers do it there.
_TAGS_WHEN_PREPARED = (b"net_virtio", b"net_bonding")

# Their drivers want as many RX as TX queues.
_AS_MANY_EACH_WAY = (b"net_tap", b"net_virtio", b"net_memif")

log = logging.getLogger("fastpath")


cdef int check(int rc, str name, str what) except -1:
    if rc < 0:
        raise FastPathError(f"port {name}: {what}: {rte_strerror(-rc).decode()}")
    return 0


cdef void queue_counts(const rte_eth_dev_info *info, bint pci, uint32_t threads, uint32_t pollers,
                       opened *out) noexcept:
    """RX: one a worker that is to poll the port; TX: one a worker and one for the host thread; as far as the device has
    them."""
    cdef uint32_t workers = threads - 1
    cdef bytes driver = info.driver_name
    out.rx_queues = min(<uint32_t>info.max_rx_queues, pollers)
    out.tx_queues = min(<uint32_t>info.max_tx_queues, threads)
    if driver == b"net_tap" or out.tx_queues < workers:
        # net_tap wants as many RX as TX queues; with fewer TX queues than workers one worker owns the port
        out.rx_queues = 1
        out.tx_queues = 1
    elif driver == b"net_virtio":
        # The host spreads flows over the pairs, and answers on the pair that a flow was sent on: each needs a poller.
        out.tx_queues = min(<uint32_t>info.max_rx_queues, <uint32_t>out.tx_queues)
        out.rx_queues = out.tx_queues
    elif driver == b"net_memif":
        # the other side closes when it has no queue for one of ours
        out.rx_queues = out.tx_queues = min(<uint32_t>info.max_rx_queues, workers)
    elif driver == b"net_af_packet":
        out.rx_queues = info.max_rx_queues    # its qpairs share the traffic: one that nobody polls loses its part
    elif pci and not info.flow_type_rss_offloads:
        out.rx_queues = 1                     # nothing would ever come to the others
    elif driver == b"net_vmxnet3":
        while out.rx_queues & (out.rx_queues - 1):
            out.rx_queues -= 1                # versions before 6 take powers of two only


cdef int configure(str name, const rte_eth_dev_info *info, uint32_t mtu, bint interrupts, bint tagged,
                   rte_mempool *pool, opened *out) except -1:
    cdef rte_eth_conf conf
    cdef bytes driver = info.driver_name
    cdef int rc
    cdef uint64_t functions = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)
    memset(&conf, 0, sizeof(conf))
    conf.intr_conf.rxq = interrupts
    if out.rx_queues > 1 and functions:
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS
        conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH
        dr_set_rss_functions(&conf, functions)
        out.rss = functions
    if info.max_mtu >= mtu >= info.min_mtu:
        conf.rxmode.mtu = mtu
    if rte_pktmbuf_data_room_size(pool) > RTE_MBUF_DEFAULT_BUF_SIZE:
        # Some devices round a buffer down, the e1000 to a power of two, and spread a large frame over several. All
        # ports must send such chains then, at the price of a driver's simplest TX path.
        conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS
    if tagged:
        conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_VLAN_STRIP
        if driver not in _TAGS_WHEN_PREPARED:
            conf.txmode.offloads |= info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_VLAN_INSERT
    out.rx_offloads = conf.rxmode.offloads
    out.tx_offloads = conf.txmode.offloads
    rc = rte_eth_dev_configure(out.dev, out.rx_queues, out.tx_queues, &conf)
    if rc == -EINVAL and conf.rxmode.mtu > ETHERNET_MTU:
        # net_af_packet says that it takes any MTU, and no frame longer than 1,518 bytes: set_mtu asks once more
        conf.rxmode.mtu = 0
        rc = rte_eth_dev_configure(out.dev, out.rx_queues, out.tx_queues, &conf)
    check(rc, name,
          f"cannot be configured with {out.rx_queues} RX and {out.tx_queues} TX queues")
    return 0


cdef int set_up_queues(str name, rte_mempool *pool, opened *out) except -1:
    cdef uint16_t rx_n = DESCRIPTORS, tx_n = DESCRIPTORS, q
    cdef int socket = rte_eth_dev_socket_id(out.dev)
    out.socket = socket
    check(rte_eth_dev_adjust_nb_rx_tx_desc(out.dev, &rx_n, &tx_n), name, "descriptor counts")
    for q in range(out.rx_queues):
        check(rte_eth_rx_queue_setup(out.dev, q, rx_n, <unsigned int>socket, NULL, pool), name, f"RX queue {q}")
    for q in range(out.tx_queues):
        check(rte_eth_tx_queue_setup(out.dev, q, tx_n, <unsigned int>socket, NULL), name, f"TX queue {q}")
    return 0


cdef str rss_names(uint64_t functions):
    """For `port show`; empty: the device spreads nothing."""
    names = (("ipv4", RTE_ETH_RSS_IPV4), ("ipv6", RTE_ETH_RSS_IPV6), ("tcp", RTE_ETH_RSS_TCP), ("udp", RTE_ETH_RSS_UDP))
    return " ".join([name for name, bits in names if functions & bits])


cdef str offload_names(const opened *o):
    """For `port show`; empty: none."""
    names = (("rss_hash", o.rx_offloads & RTE_ETH_RX_OFFLOAD_RSS_HASH),
             ("multi_segs", o.tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS),
             ("vlan_strip", o.rx_offloads & RTE_ETH_RX_OFFLOAD_VLAN_STRIP),
             ("vlan_insert", o.tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT))
    return " ".join([name for name, used in names if used])


cdef int set_mac(str name, bytes mac, opened *out) except -1:
    """Have the device receive frames to `mac`; empty: to its own."""
    cdef rte_ether_addr address
    check(rte_eth_macaddr_get(out.dev, &out.own_mac), name, "the device's MAC")
    if mac:
        memcpy(&address, <const char *>mac, 6)
        check(rte_eth_dev_default_mac_addr_set(out.dev, &address), name,
              f"the device does not take the MAC {mac.hex(':')}; remove port.mac, and it uses its own")
    return 0


cdef void close_device(uint16_t dev, rte_ether_addr *own_mac) noexcept:
    """Stop and close, with the MAC that the device came with: some keep another one beyond their reset."""
    cdef rte_ether_addr address
    if rte_eth_macaddr_get(dev, &address) == 0 and memcmp(&address, own_mac, sizeof(address)) != 0:
        rte_eth_dev_default_mac_addr_set(dev, own_mac)
    rte_eth_dev_stop(dev)
    rte_eth_dev_close(dev)


cdef int set_filters(str name, opened *out) except -1:
    """Frames to the port's MAC, to broadcast and to groups: ND needs the solicited-node ones (RFC 4861 7.2.1). A device
    that cannot tell groups apart gets promiscuous mode; one that has neither delivers everything."""
    cdef int rc
    rte_eth_promiscuous_disable(out.dev)
    rc = rte_eth_allmulticast_enable(out.dev)
    if rc != 0 and rte_eth_promiscuous_enable(out.dev) == 0:
        log.info("port %s: promiscuous, since the device has no mode for all groups: %s", name,
                 rte_strerror(-rc).decode())
    elif rc != 0 and rc != -EOPNOTSUPP:
        check(rc, name, "multicast reception, which ND needs")
    return 0


cdef int set_mtu(str name, uint32_t mtu, const rte_eth_dev_info *info, opened *out) except -1:
    """A device that has no say in it, or has it already, is none of an error; one that would drop packets is."""
    cdef uint16_t now = 0
    cdef int rc = rte_eth_dev_set_mtu(out.dev, <uint16_t>mtu)
    if rc == 0 or rc == -EOPNOTSUPP or (rte_eth_dev_get_mtu(out.dev, &now) == 0 and now >= mtu):
        return 0
    if mtu > info.max_mtu:
        raise FastPathError(f"port {name}: found mtu {mtu}: the device carries packets of at most {info.max_mtu} bytes")
    if rc != -EINVAL:
        check(rc, name, f"MTU {mtu}")
    return 0


cdef object missing_device(str name, str device):
    """The error that says so."""
    return FastPathError(
        f"port {name}: DPDK has no device {device!r}: it does not exist, is not bound to a DPDK "
        "driver, or its driver's library is missing (EAL's lines above say which)")


cdef int count_queues(str name, list devices, uint32_t threads, uint32_t pollers, opened *out) except -1:
    """What every one of these devices has: a bond's members have as many queues as the bond."""
    cdef rte_eth_dev_info info
    cdef opened one
    cdef uint16_t dev
    cdef bytes device
    out.rx_queues = out.tx_queues = 0xFFFF
    paired = False
    for device in devices:
        if rte_eth_dev_get_port_by_name(device, &dev) != 0:
            raise missing_device(name, device.decode())
        check(rte_eth_dev_info_get(dev, &info), name, "device information")
        queue_counts(&info, b":" in device, threads, pollers, &one)    # only PCI addresses have colons
        out.rx_queues = min(<uint32_t>out.rx_queues, <uint32_t>one.rx_queues)
        out.tx_queues = min(<uint32_t>out.tx_queues, <uint32_t>one.tx_queues)
        paired = paired or info.driver_name in _AS_MANY_EACH_WAY
    if len(devices) > 1 and paired:
        out.rx_queues = out.tx_queues = min(<uint32_t>out.rx_queues, <uint32_t>out.tx_queues)
    return 0


cdef int open_device(str name, str device, list members, uint32_t mtu, bytes mac, uint32_t threads, uint32_t pollers,
                     bint interrupts, bint tagged, rte_mempool *pool, opened *out) except -1:
    """Find, configure and start. device: its name for EAL; members: of a bond, theirs; mac: 6 bytes or none; threads:
    workers and host thread; pollers: workers among which the RX queues go; interrupts: of RX queues, which the device
    must have; tagged: the port has sub-interfaces."""
    cdef rte_eth_dev_info info
    cdef bytes dev_name = device.encode()
    cdef uint16_t now = 0
    if rte_eth_dev_get_port_by_name(dev_name, &out.dev) != 0:
        raise missing_device(name, device)
    check(rte_eth_dev_info_get(out.dev, &info), name, "device information")
    count_queues(name, [one.encode() for one in members or [device]], threads, pollers, out)
    configure(name, &info, mtu, interrupts, tagged, pool, out)
    set_up_queues(name, pool, out)
    # before the start: some drivers refuse it later, vmxnet3's starts anew and forgets MAC and groups
    if not members:
        set_mtu(name, mtu, &info, out)
    set_mac(name, mac, out)
    check(rte_eth_dev_start(out.dev), name,
          "a member does not start (its driver's lines above say why)" if members else "cannot be started")
    if members and (rte_eth_dev_get_mtu(out.dev, &now) != 0 or now < mtu):
        set_mtu(name, mtu, &info, out)      # members are configured by now, mostly with it
    set_filters(name, out)
    if interrupts and rte_eth_dev_rx_intr_ctl_q_get_fd(out.dev, 0) < 0:
        raise FastPathError(f'port {name}: fastpath.idle = "interrupt" needs RX interrupts, which '
                            f'{info.driver_name.decode()} does not have here: use "sleep" or "poll"')
    return 0
