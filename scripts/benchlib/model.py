"""The reference: longest prefix first, each length's prefixes sorted and searched by bisection. Nothing of the table
under test is used."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from benchlib.destinations import Addresses
from benchlib.routes import U16, U64, Routes, masks


def groups_of(routes: Routes, addresses: Addresses) -> U16:
    """The group of each address; 0: no route."""
    hi, lo = addresses
    answer = np.zeros(len(hi), dtype=np.uint16)
    left = np.arange(len(hi))
    for length in sorted(set(routes.lengths.tolist()), reverse=True):
        level = routes.take(routes.lengths == length)
        high, low = masks(np.array([length], dtype=np.uint8))
        found = _find(level, hi[left] & high, lo[left] & low)
        hit = found >= 0
        answer[left[hit]] = level.groups[found[hit]]
        left = left[~hit]
    return answer


def _find(level: Routes, hi: U64, lo: U64) -> NDArray[np.intp]:
    """Where each prefix stands in `level`, or -1."""
    if level.lengths[0] > 64:  # few of them: both halves, as Python sees them
        where = {key: at for at, key in enumerate(zip(level.hi.tolist(), level.lo.tolist(), strict=True))}
        near = np.nonzero(np.isin(hi, level.hi))[0]
        found = np.full(len(hi), -1, dtype=np.intp)
        found[near] = [where.get(key, -1) for key in zip(hi[near].tolist(), lo[near].tolist(), strict=True)]
        return found
    order = np.argsort(level.hi)
    at = np.minimum(np.searchsorted(level.hi, hi, sorter=order), len(order) - 1)
    return np.where(level.hi[order[at]] == hi, order[at], -1)


def checksum(groups: U16) -> str:
    """A name for a sequence of answers."""
    return hashlib.blake2b(groups.astype("<u2").tobytes(), digest_size=8).hexdigest()
