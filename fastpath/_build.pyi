"""Facts of this build, written by meson from fastpath/_build.py.in."""

from typing import Final

VERSION: Final[str]
BUILD_ID: Final[str]
"""`git describe` of the sources; "unknown" when they were not in a git repository."""
DPDK_VERSION: Final[str]
"""The libdpdk that this was compiled against."""
DEBUG_CHECKS: Final[bool]
VARIANTS: Final[dict[str, str]]
"""SIMD level (as in the configuration's `fastpath.simd`) -> worker module; the best last."""
