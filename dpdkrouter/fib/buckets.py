"""Which member of a next-hop group each of its 256 buckets belongs to: pure arithmetic.

Shares are by weight, by the Sainte-Laguë (Webster) method with at least one bucket a member. A divisor method
takes nothing from anybody when a member leaves and gives nothing to others when one comes, so a bucket moves
only when its member has gone or when somebody must hand over part of a fair share: flows of the others stay
where they are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heapify, heapreplace

BUCKETS = 256


def shares(weights: Mapping[int, int]) -> dict[int, int]:
    """Buckets for each member (at most BUCKETS of them, weights > 0); the sum is BUCKETS."""
    have = dict.fromkeys(weights, 1)
    # smallest first: the member with the largest weight for each half bucket more that it would have; ties by index
    heap = [(1.5 / weight, member) for member, weight in sorted(weights.items())]
    heapify(heap)
    for _ in range(BUCKETS - len(have)):
        member = heap[0][1]
        have[member] += 1
        heapreplace(heap, ((have[member] + 0.5) / weights[member], member))
    return have


def assign(weights: Mapping[int, int], before: Sequence[int]) -> list[int]:
    """The member of each bucket, keeping as many as shares allow where they were (`before`.

    Empty, or BUCKETS long).
    """
    missing = Counter(shares(weights))
    after: list[int | None] = [None] * BUCKETS
    for bucket, member in enumerate(before):
        if missing[member] > 0:
            after[bucket] = member
            missing[member] -= 1
    # spread each newcomer over the free buckets rather than in one block
    spread = sorted((turn / count, member) for member, count in missing.items() for turn in range(count))
    rest = iter([member for _, member in spread])
    return [next(rest) if member is None else member for member in after]
