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


def deal_from(owners: Sequence[int], lengths: Sequence[int], ranks: int, slack: float = 0.02) -> list[list[int]]:
    """Divide rows among ranks as `deal` does, but leave each with its owner where the loads allow it.

    Rows go from the rank with the most to the one with the least until the most is at most `slack` above the mean, or
    no such move helps.

    Args:
        owners: the rank that has each row.
        lengths: of the rows.
        ranks: their number.
        slack: allowed share above the mean.

    Returns:
        Row indices of each rank, in ascending order.

    >>> deal_from([0, 0, 0, 1], [5, 1, 4, 2], 2)
    [[0, 1], [2, 3]]
    """
    hands: list[list[int]] = [[row for row, owner in enumerate(owners) if owner == rank] for rank in range(ranks)]
    loads = [sum(lengths[row] for row in hand) for hand in hands]
    limit = (1 + slack) * sum(loads) / ranks
    while max(loads) > limit:
        most, least = loads.index(max(loads)), loads.index(min(loads))
        gap = loads[most] - loads[least]
        movable = [row for row in hands[most] if 0 < lengths[row] < gap]
        if not movable:
            break
        row = min(movable, key=lambda row: (abs(gap - 2 * lengths[row]), row))
        hands[most].remove(row)
        hands[least].append(row)
        loads[most] -= lengths[row]
        loads[least] += lengths[row]
    return [sorted(hand) for hand in hands]
