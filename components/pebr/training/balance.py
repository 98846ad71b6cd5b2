"""Which rank takes which rows: the work of a step is done when its slowest rank is."""

import heapq
from collections.abc import Sequence


def deal(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Deal rows to ranks, the longest first and each to the rank with the fewest tokens so far.

    (Graham's longest-processing-time rule: at most 4/3 of the best possible.) The same lengths give the same deal, so
    every rank finds it alone.

    Args:
        lengths: tokens of each row.
        ranks: how many.

    Returns:
        For each rank the rows' indices, in rising order.

    >>> deal([5, 1, 4, 2], 2)
    [[0, 1], [2, 3]]
    """
    hands: list[list[int]] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    for index in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        load, rank = heapq.heappop(loads)
        hands[rank].append(index)
        heapq.heappush(loads, (load + lengths[index], rank))
    return [sorted(hand) for hand in hands]
