"""The loss of CISPO equals its formula, and no token loses its gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.cispo import cispo_loss


@given(st.floats(-3, 3), st.floats(-5, 0), st.floats(-2, 2), st.sampled_from([0.2, 1.0]), st.sampled_from([0.3, 4.0]))
def test_loss_and_gradient_are_the_formula(log_ratio, logprob, advantage, low, high):
    new = torch.tensor([logprob], requires_grad=True)
    old = logprob - log_ratio
    found = cispo_loss(new - old, new, torch.tensor([advantage]), low, high)
    found.losses.sum().backward()
    ratio = math.exp(log_ratio)
    weight = max(1 - low, min(1 + high, ratio))
    assert found.losses.item() == pytest.approx(-weight * advantage * logprob, rel=1e-4, abs=1e-6)
    assert new.grad.item() == pytest.approx(-weight * advantage, rel=1e-4, abs=1e-6)
    if abs(weight - ratio) > 1e-4 or weight == ratio:
        assert bool(found.clipped) == (abs(weight - ratio) > 1e-4)
