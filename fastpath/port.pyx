"""One DPDK port: as many queues as the device allows, RSS over both families where it has it, promiscuous off.

Called by the main thread before workers start.
"""
from libc.errno cimport EINVAL, EOPNOTSUPP
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from dpdkrouter.errors import FastPathError
from fastpath.dpdk.ethdev cimport (RTE_ETH_MQ_RX_RSS, RTE_ETH_RSS_IP, RTE_ETH_RSS_TCP, RTE_ETH_RSS_UDP,
                                   RTE_ETH_RX_OFFLOAD_RSS_HASH, dr_set_rss_functions, rte_eth_allmulticast_enable,
                                   rte_eth_conf, rte_eth_dev_adjust_nb_rx_tx_desc, rte_eth_dev_configure,
                                   rte_eth_dev_get_port_by_name, rte_eth_dev_info, rte_eth_dev_info_get,
                                   rte_eth_dev_set_mtu, rte_eth_dev_socket_id, rte_eth_dev_start,
                                   rte_eth_promiscuous_disable, rte_eth_rx_queue_setup, rte_eth_tx_queue_setup)
from fastpath.dpdk.mbuf cimport rte_mempool
from fastpath.dpdk.eal cimport rte_strerror

cdef enum:
    DESCRIPTORS = 1024


cdef int check(int rc, str name, str what) except -1:
    if rc < 0:
        raise FastPathError(f"port {name}: {what}: {rte_strerror(-rc).decode()}")
    return 0


cdef void queue_counts(const rte_eth_dev_info *info, uint32_t threads, opened *out) noexcept:
    """RX: one a worker; TX: one a worker and one for the host thread; as far as the device has them."""
    cdef uint32_t workers = threads - 1
    out.rx_queues = min(<uint32_t>info.max_rx_queues, workers)
    out.tx_queues = min(<uint32_t>info.max_tx_queues, threads)
    if <bytes>info.driver_name == b"net_tap" or out.tx_queues < workers:
        # net_tap wants as many RX as TX queues; with fewer TX queues than workers one worker owns the port
        out.rx_queues = 1
        out.tx_queues = 1
    elif <bytes>info.driver_name == b"net_af_packet":
        out.rx_queues = info.max_rx_queues    # its qpairs share the traffic: one that nobody polls loses its part


cdef int configure(str name, const rte_eth_dev_info *info, uint32_t mtu, opened *out) except -1:
    cdef rte_eth_conf conf
    cdef uint64_t functions = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)
    memset(&conf, 0, sizeof(conf))
    if out.rx_queues > 1 and functions:
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS
        conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH
        dr_set_rss_functions(&conf, functions)
    if info.max_mtu >= mtu >= info.min_mtu:
        conf.rxmode.mtu = mtu
    check(rte_eth_dev_configure(out.dev, out.rx_queues, out.tx_queues, &conf), name,
          f"cannot be configured with {out.rx_queues} RX and {out.tx_queues} TX queues")
    return 0


cdef int set_up_queues(str name, rte_mempool *pool, opened *out) except -1:
    cdef uint16_t rx_n = DESCRIPTORS, tx_n = DESCRIPTORS, q
    cdef int socket = rte_eth_dev_socket_id(out.dev)
    check(rte_eth_dev_adjust_nb_rx_tx_desc(out.dev, &rx_n, &tx_n), name, "descriptor counts")
    for q in range(out.rx_queues):
        check(rte_eth_rx_queue_setup(out.dev, q, rx_n, <unsigned int>socket, NULL, pool), name, f"RX queue {q}")
    for q in range(out.tx_queues):
        check(rte_eth_tx_queue_setup(out.dev, q, tx_n, <unsigned int>socket, NULL), name, f"TX queue {q}")
    return 0


cdef int open_device(str name, str device, uint32_t mtu, uint32_t threads, rte_mempool *pool,
                     opened *out) except -1:
    """Find, configure and start. device: EAL's name of it; threads: workers + the host thread."""
    cdef rte_eth_dev_info info
    cdef bytes dev_name = device.encode()
    cdef int rc
    if rte_eth_dev_get_port_by_name(dev_name, &out.dev) != 0:
        raise FastPathError(
            f"port {name}: DPDK has no device {dev_name.decode()!r}: it does not exist, is not bound to a DPDK "
            "driver, or its driver's library is missing (EAL's lines above say which)")
    check(rte_eth_dev_info_get(out.dev, &info), name, "device information")
    queue_counts(&info, threads, out)
    configure(name, &info, mtu, out)
    set_up_queues(name, pool, out)
    check(rte_eth_dev_start(out.dev), name, "cannot be started")
    # ND needs its solicited-node groups; a device that cannot filter delivers them anyway
    rte_eth_promiscuous_disable(out.dev)
    rc = rte_eth_allmulticast_enable(out.dev)
    if rc != 0 and rc != -EOPNOTSUPP:
        check(rc, name, "multicast reception")
    rc = rte_eth_dev_set_mtu(out.dev, <uint16_t>mtu)
    if rc != 0 and rc != -EOPNOTSUPP and rc != -EINVAL:
        check(rc, name, f"MTU {mtu}")
    return 0
