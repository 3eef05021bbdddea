"""Drop reasons and punt classes for Python. Nothing else: importing this loads no DPDK library."""
