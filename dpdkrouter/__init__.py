"""dpdkrouter: the control side of the router (configuration, BGP, RIB, FIB writer, host stack, API, CLI)."""

from fastpath import _build

__all__ = ["__version__"]

__version__ = _build.VERSION
