"""Paired comparisons: the mean difference of two arms over seeds, with a bootstrap interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 20_000
LEVEL = 0.95


class Difference(NamedTuple):
    """The mean of paired differences, and the bounds of its interval."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """The mean of `second` minus `first`, paired, with the percentile bootstrap's interval (Efron, 1979).

    Pairs are drawn with replacement, `RESAMPLES` times; the interval holds the middle `LEVEL` of their means. With few
    pairs it is somewhat too narrow.

    Args:
        first: values of one arm, by seed, (N,).
        second: values of the other, in the same order, (N,).
        seed: of the resampling.

    Raises:
        ValueError: the lists differ in length, or are empty.

    >>> difference([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    Difference(mean=0.1, low=0.1, high=0.1, pairs=3)
    """
    pairs = np.array([after - before for before, after in zip(first, second, strict=True)])
    if not len(pairs):
        raise ValueError("no pairs")
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(pairs[drawn].mean(axis=1), [tail, 1 - tail])
    mean, lowest, highest = (round(float(value), 12) for value in (pairs.mean(), low, high))
    return Difference(mean, lowest, highest, len(pairs))
