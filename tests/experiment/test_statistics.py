"""The bootstrap of paired differences against a slow transcription."""

import random
from statistics import fmean

import pytest

from benchmarks.experiment.statistics import difference


def slow(first: list[float], second: list[float]) -> tuple[float, float]:
    """Draw pairs one at a time; the interval ends where 2.5 % of the means lie outside on each side."""
    draw = random.Random(1)
    pairs = [after - before for before, after in zip(first, second, strict=True)]
    means = sorted(fmean(draw.choice(pairs) for _ in pairs) for _ in range(4000))
    return means[100], means[-101]


def test_the_interval_is_that_of_a_slow_bootstrap() -> None:
    draw = random.Random(5)
    first = [draw.gauss(0.4, 0.05) for _ in range(8)]
    second = [value + draw.gauss(0.03, 0.04) for value in first]
    made, (low, high) = difference(first, second), slow(first, second)
    assert made.mean == pytest.approx(fmean(second) - fmean(first))
    assert made.low == pytest.approx(low, abs=0.003)
    assert made.high == pytest.approx(high, abs=0.003)
    assert made.low < made.mean < made.high
    assert made.pairs == 8


def test_pairing_removes_what_seeds_have_in_common() -> None:
    first = [0.1, 0.5, 0.9, 0.3]
    assert difference(first, [value + 0.01 for value in first]).is_clear
    assert not difference(first, [0.5, 0.1, 0.3, 0.9]).is_clear


def test_lists_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        difference([], [])
    with pytest.raises(ValueError, match="zip"):
        difference([0.1], [0.1, 0.2])
