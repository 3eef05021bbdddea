"""dpdkrouter: the control side of the router (configuration, BGP, RIB, FIB writer, host stack, API, CLI)."""

from fastpath._build import VERSION as __version__

__all__ = ["__version__"]
