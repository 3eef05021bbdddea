"""Makes the enumeration of faults.pxd importable."""
