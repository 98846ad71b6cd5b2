"""Corrections for a sampler that differs from the trainer equal plain transcriptions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.sampler_mismatch import on_policy, sampler_weights

logprob = st.floats(-8, 0)


@given(st.lists(st.tuples(logprob, logprob), min_size=1, max_size=8), st.floats(1.1, 5))
def test_weights_are_truncated_or_masked_ratios(pairs, cap):
    trainer, sampler = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    ratios = [math.exp(a - b) for a, b in pairs]
    truncated = sampler_weights(trainer, sampler, "truncate", cap)
    assert truncated.tolist() == pytest.approx([min(ratio, cap) for ratio in ratios])
    masked = sampler_weights(trainer, sampler, "mask", cap)
    assert masked.tolist() == pytest.approx([ratio if 1 / cap <= ratio <= cap else 0.0 for ratio in ratios])


answers = st.lists(
    st.tuples(st.lists(st.tuples(logprob, logprob), min_size=1, max_size=6), st.floats(-2, 2)), min_size=1, max_size=5
)


@given(answers, st.floats(0.01, 2))
def test_an_answer_is_left_out_if_it_is_bad_and_the_policy_has_moved_away_from_it(given_answers, limit):
    tokens = [pair for pairs, _ in given_answers for pair in pairs]
    policy, sampler = (torch.tensor(values, dtype=torch.float64) for values in zip(*tokens, strict=True))
    lengths = torch.tensor([len(pairs) for pairs, _ in given_answers])
    advantages = torch.tensor([a for _, a in given_answers], dtype=torch.float64).repeat_interleave(lengths)
    found = on_policy(policy, sampler, advantages, lengths, limit).tolist()
    expected = []
    for pairs, advantage in given_answers:
        drift = sum(old - new for new, old in pairs) / len(pairs)
        expected += [advantage >= 0 or drift <= limit] * len(pairs)
    assert found == expected


def test_an_equal_sampler_changes_nothing():
    logprobs = torch.tensor([-1.0, -2.0, -0.5])
    for kind in ("truncate", "mask"):
        assert sampler_weights(logprobs, logprobs, kind, 2.0).tolist() == [1.0] * 3
    assert on_policy(logprobs, logprobs, -torch.ones(3), torch.tensor([3]), 0.01).all()
