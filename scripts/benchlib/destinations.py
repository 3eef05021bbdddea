"""What is looked up: random hosts inside random routes, the same by Zipf popularity, or uniform over all addresses."""

import numpy as np

from benchlib.routes import U64, Routes, masks

Addresses = tuple[U64, U64]
"""(hi, lo) of each"""


def _bits(rng: np.random.Generator, count: int) -> U64:
    return rng.integers(0, 1 << 64, size=count, dtype=np.uint64)


def random_hosts(routes: Routes, count: int, seed: int) -> Addresses:
    """A random address inside each of `count` routes drawn at random (a more specific route may have it)."""
    rng = np.random.default_rng([seed, routes.family, 11])
    chosen = rng.integers(0, len(routes), size=count)
    high, low = masks(routes.lengths[chosen])
    hi = routes.hi[chosen] | (_bits(rng, count) & ~high)
    lo = routes.lo[chosen] | (_bits(rng, count) & ~low)
    if routes.family == 4:
        return hi >> np.uint64(32) << np.uint64(32), np.zeros(count, dtype=np.uint64)
    return hi, lo


def zipf(routes: Routes, count: int, seed: int) -> Addresses:
    """`count` draws from as many random hosts, the k-th most popular 1/k as often as the first (Zipf, exponent 1)."""
    hi, lo = random_hosts(routes, count, seed)
    rng = np.random.default_rng([seed, routes.family, 12])
    odds = np.cumsum(1.0 / np.arange(1, count + 1))
    chosen = np.minimum(np.searchsorted(odds, rng.random(count) * odds[-1]), count - 1)
    return hi[chosen], lo[chosen]


def uniform(routes: Routes, count: int, seed: int) -> Addresses:
    """Any address of the routes' family."""
    rng = np.random.default_rng([seed, routes.family, 13])
    if routes.family == 4:
        return rng.integers(0, 1 << 32, size=count, dtype=np.uint64) << np.uint64(32), np.zeros(count, dtype=np.uint64)
    return _bits(rng, count), _bits(rng, count)
