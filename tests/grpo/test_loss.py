"""The loss equals a plain transcription of its formula, one token at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.loss import answer_weights, kl_divergence, policy_loss

logprob = st.floats(-30, 0)
advantage = st.floats(-3, 3)


def clamp(value, low, high):
    return max(low, min(high, value))


def by_hand(new, old, a, low, high, dual, cap):
    """One token's loss."""
    ratio = math.exp(clamp(new - old, -20, 20))
    if cap and ratio > cap:
        ratio = cap
    unclipped, clipped = -a * ratio, -a * clamp(ratio, 1 - low, 1 + high)
    loss = max(unclipped, clipped)
    if a < 0 and dual:
        loss = min(loss, -a * dual)
    return loss


@given(logprob, logprob, advantage, st.sampled_from([0.0, 3.0]), st.sampled_from([0.0, 2.0]))
def test_policy_loss_is_the_formula(new, old, a, dual, cap):
    found = policy_loss(torch.tensor([new]) - torch.tensor([old]), torch.tensor([a]), 0.2, 0.3, dual, cap)
    assert found.losses.item() == pytest.approx(by_hand(new, old, a, 0.2, 0.3, dual, cap), rel=1e-4, abs=1e-6)


@given(
    st.floats(-4, 4), advantage.filter(lambda a: abs(a) > 1e-3), st.sampled_from([0.0, 3.0]), st.sampled_from([0, 2])
)
def test_a_clipped_token_has_no_gradient_and_any_other_has(log_ratio, a, dual, cap):
    new = torch.tensor([log_ratio], requires_grad=True)
    found = policy_loss(new, torch.tensor([a]), 0.2, 0.3, dual, cap)
    found.losses.sum().backward()
    assert bool(found.clipped) == (new.grad.item() == 0)


@pytest.mark.parametrize(("ratio", "loss", "gradient"), [(1.0, 1.0, 1.0), (1.9, 1.9, 1.9), (5.0, 2.0, 2.0)])
def test_a_truncated_token_moves_the_policy_as_one_at_the_cap(ratio, loss, gradient):
    new = torch.tensor([math.log(ratio)], requires_grad=True)
    found = policy_loss(new, torch.tensor([-1.0]), ratio_cap=2.0)
    found.losses.sum().backward()
    assert found.losses.item() == pytest.approx(loss)
    assert new.grad.item() == pytest.approx(gradient)
    without = policy_loss(new, torch.tensor([-1.0]))
    assert (without.losses.item() == pytest.approx(loss)) == (ratio < 2)


def test_on_policy_the_gradient_is_that_of_the_advantage():
    new = torch.tensor([-1.0, -2.0], requires_grad=True)
    policy_loss(new - new.detach(), torch.tensor([0.7, -0.4])).losses.sum().backward()
    assert new.grad.tolist() == pytest.approx([-0.7, 0.4])


@given(logprob, logprob)
def test_kl_estimators_are_schulmans(new, reference):
    d = clamp(reference - new, -20, 20)
    expected = {"k1": -d, "k2": d * d / 2, "k3": math.exp(d) - d - 1}
    for estimator, value in expected.items():
        found = kl_divergence(torch.tensor([new]), torch.tensor([reference]), estimator)
        assert found.item() == pytest.approx(clamp(value, -10, 10), rel=1e-4, abs=1e-5)


def test_k3_is_never_negative_and_small_near_equality():
    d = torch.linspace(-1e-3, 1e-3, 101)
    found = kl_divergence(torch.zeros(101), d)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found, d * d / 2, rtol=1e-3, atol=1e-9)


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=12)


@given(lengths, st.integers(1, 12))
def test_weights_of_parts_are_those_of_the_whole(all_lengths, cut):
    """The batch may be split anywhere: into rows, micro-batches, ranks."""
    for kind in ("token", "sequence", "dr_grpo"):
        whole = answer_weights(all_lengths, sum(all_lengths), len(all_lengths), kind, 64)
        parts = [
            answer_weights(part, sum(all_lengths), len(all_lengths), kind, 64)
            for part in (all_lengths[:cut], all_lengths[cut:])
        ]
        assert torch.cat(parts).equal(whole)


@given(lengths)
def test_weights_are_the_means_they_are_called(all_lengths):
    losses = [torch.rand(length) for length in all_lengths]
    expected = {
        "token": torch.cat(losses).mean(),
        "sequence": torch.stack([loss.mean() for loss in losses]).mean(),
        "dr_grpo": torch.cat(losses).sum() / (len(losses) * 64),
    }
    for kind, mean in expected.items():
        weights = answer_weights(all_lengths, sum(all_lengths), len(all_lengths), kind, 64)
        found = sum(weight * loss.sum() for weight, loss in zip(weights, losses, strict=True))
        torch.testing.assert_close(found, mean)
