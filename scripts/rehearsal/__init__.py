"""The rehearsal of bare metal: a machine with NICs, lent by QEMU, on which dpdkrouter runs as on metal.

* __main__.py   options, signals, the order of things
* machine.py    QEMU: the machine, its NICs, its monitor
* image.py      the guest's kernel and initramfs
* init.sh       the initramfs's program: the host's root over 9p
* guest.sh      the guest's program: runs what the host asks for
* guest.py      the host's end of it
* hosts.py      the hosts at the other ends of the cables; their traffic
* router.py     the configuration; what the router says of itself
* steps.py      what is done and checked, one function a step
"""

DRAWING = r"""
  this machine, a namespace each                 guest: Debian's kernel, an IOMMU, NICs bound to vfio-pci

  h0 198.18.0.2  2001:db8::2    ---- tap ----  p0 198.18.0.1  2001:db8::1    --.
  h1 198.18.1.2  2001:db8:1::2  ---- tap ----  p1 198.18.1.1  2001:db8:1::1    |  dpdkrouter,
  h2 198.18.2.2  2001:db8:2::2  ---- tap ----  p2 198.18.2.1  2001:db8:2::1    |  two workers
  h3 198.18.3.2  2001:db8:3::2  ---- tap ----  p3 198.18.3.1  2001:db8:3::1  --'
"""
