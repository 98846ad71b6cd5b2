"""Division of rows among ranks. The slowest rank sets the time of a step."""

import heapq
from collections.abc import Sequence


def deal(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Divide rows of these lengths among ranks: longest first, each to the rank with the fewest tokens so far.

    This is Graham's longest-processing-time rule, at most 4/3 of the optimum. It is deterministic, so ranks compute it
    without communication. Returns the row indices of each rank, in ascending order.

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
