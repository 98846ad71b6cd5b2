"""Advantages equal the formulas, written out with Python's statistics module."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.advantages import group_advantages

rewards = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=16)


@given(rewards)
def test_std_is_the_formula(group):
    (found,) = group_advantages([group], "std")
    if len(set(group)) == 1:
        assert not found.any()
        return
    mean, deviation = statistics.fmean(group), statistics.stdev(group)
    expected = [(r - mean) / (deviation + 1e-6) for r in group]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(rewards)
def test_mean_only_subtracts(group):
    (found,) = group_advantages([group], "mean")
    assert found.tolist() == pytest.approx([r - statistics.fmean(group) for r in group], abs=1e-6)


@given(st.lists(rewards, max_size=5))
def test_groups_do_not_mix(groups):
    for group, found in zip(groups, group_advantages(groups, "std"), strict=True):
        assert found.equal(group_advantages([group], "std")[0])


def test_equal_rewards_give_advantages_of_exactly_0():
    # in floating point, the mean of 0.1, 0.1, 0.1 is not 0.1
    assert group_advantages([[0.1, 0.1, 0.1]], "std")[0].tolist() == [0.0, 0.0, 0.0]
