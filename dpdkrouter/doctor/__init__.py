"""What this machine has of what the router needs: `dpdkrouter doctor`. Looks, computes and changes nothing.

findings.py   the values that it gives
subject.py    all that is looked at, read once
software.py   DPDK, ExaBGP, rights, namespaces
memory.py     hugepages against what the configuration needs, hugetlbfs
hardware.py   IOMMU, vfio, NICs, lcores
bonds.py      members of bonds
"""
