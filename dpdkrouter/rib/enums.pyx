"""Makes the enumerations of enums.pxd importable from Python; it holds nothing else."""
