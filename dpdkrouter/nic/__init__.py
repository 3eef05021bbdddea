"""NICs: which there are, who uses them, and their hand-over from the kernel's driver to DPDK and back.

    kernel.py    the rim: reads and writes sysfs, loads modules; everything below one root
    devices.py   PCI devices and their interfaces, as sysfs shows them
    drivers.py   DPDK's drivers and the devices that each supports, from the drivers' own files
    usage.py     what an interface or device is used for now: routes, addresses, SSH sessions, processes
    verdict.py   what `nic bind` and `nic restore` would do with a device, and what forbids it; pure
    memory.py    the drivers that devices had before, kept over reboots
    binding.py   does it, verifies it, rolls back

The CLI (cli/nic.py), `doctor` and the run-time checks call it; the router's programs never bind anything.
"""
