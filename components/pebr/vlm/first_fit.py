"""Packs things of given sizes into as few bins as a simple rule finds."""

from collections.abc import Sequence


def first_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Divide things among bins by first-fit decreasing: the largest first, each into the first bin with room.

    Args:
        sizes: of the things. One that is larger than a bin gets a bin of its own.
        capacity: of a bin.

    Returns:
        The numbers of the things in each bin.

    >>> first_fit([4, 1, 3, 2], 4)
    [[0], [2, 1], [3]]
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda n: sizes[n], reverse=True):
        place = next((place for place, left in enumerate(room) if left >= sizes[number]), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(capacity)
        bins[place].append(number)
        room[place] -= sizes[number]
    return bins
