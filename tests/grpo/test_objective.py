"""The objective is the weighted sum of its terms, and settings name what exists."""

import math

import pytest
import torch

from pebr.grpo import objective as objectives
from pebr.grpo.advantages import ADVANTAGES
from pebr.grpo.cispo import cispo_loss
from pebr.grpo.loss import KL_ESTIMATORS, kl_divergence, policy_loss
from pebr.grpo.objective import Part, Term, Tokens, active_terms, measures, objective
from pebr.grpo.ratios import RATIOS
from pebr.grpo.sampler_mismatch import on_policy, sampler_weights
from pebr.grpo.settings import ObjectiveSettings, Settings
from pebr.step.settings import fields


@pytest.fixture
def tokens() -> Tokens:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(50, generator=generator) for _ in Tokens._fields]
    lengths = torch.tensor([20, 1, 29])
    return Tokens(*values)._replace(weights=torch.rand(50, generator=generator) / 50, lengths=lengths)


def test_the_loss_is_the_weighted_sum_of_the_terms(tokens: Tokens) -> None:
    settings = ObjectiveSettings(kl_weight=0.3, old_logprobs="recompute")
    loss, sums = objective(tokens, settings)
    policy = policy_loss(tokens.logprobs - tokens.old_logprobs, tokens.advantages)
    divergence = kl_divergence(tokens.logprobs, tokens.reference_logprobs)
    torch.testing.assert_close(loss, (tokens.weights * (policy.losses + 0.3 * divergence)).sum())
    assert set(sums) == set(measures(settings))
    assert sums["clip_fraction"] == policy.clipped.sum()
    assert sums["kl"] == divergence.sum()
    assert sums["entropy"] == tokens.entropies.sum()


def test_a_term_with_coefficient_0_is_not_computed(tokens: Tokens) -> None:
    loss, sums = objective(tokens._replace(reference_logprobs=None), ObjectiveSettings(kl_weight=0.0))
    assert loss.isfinite()
    assert "kl" not in sums
    with pytest.raises(ValueError, match="reference model"):
        objective(tokens._replace(reference_logprobs=None), ObjectiveSettings(kl_weight=0.1))


def test_the_entropy_bonus_lowers_the_loss_by_the_mean_entropy(tokens: Tokens) -> None:
    before, _ = objective(tokens, ObjectiveSettings())
    after, sums = objective(tokens, ObjectiveSettings(entropy_weight=0.1))
    torch.testing.assert_close(after, before - 0.1 * (tokens.weights * tokens.entropies).sum())
    assert set(sums) == set(measures(ObjectiveSettings()))


def test_the_seeing_term_is_papos_and_pulls_apart_what_the_image_makes_likelier(tokens: Tokens) -> None:
    seen, blind = (tokens.logprobs.clone().requires_grad_(), tokens.blind_logprobs)
    settings = ObjectiveSettings(kl_weight=0.0, seeing_weight=0.02)
    loss, sums = objective(tokens._replace(logprobs=seen, advantages=torch.zeros(50)), settings)
    by_hand = [math.exp(q - p) - (q - p) - 1 for p, q in zip(seen.tolist(), blind.tolist(), strict=True)]
    assert sums["seeing"].item() == pytest.approx(sum(by_hand), rel=1e-5)
    expected = -0.02 * sum(w * kl for w, kl in zip(tokens.weights.tolist(), by_hand, strict=True))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(seen.grad, -0.02 * tokens.weights * (1 - (blind - seen.detach()).exp()))


@pytest.mark.parametrize("surrogate", ["clip", "cispo"])
@pytest.mark.parametrize("ratio", list(RATIOS))
def test_policy_losses_and_ratios_can_be_combined(tokens: Tokens, surrogate: str, ratio: str) -> None:
    settings = ObjectiveSettings(kl_weight=0.0, old_logprobs="recompute", ratio=ratio, surrogate=surrogate)
    log_ratio = RATIOS[ratio](tokens.logprobs - tokens.old_logprobs, tokens.lengths)
    expected = (
        cispo_loss(log_ratio, tokens.logprobs, tokens.advantages, 0.2, 0.3)
        if surrogate == "cispo"
        else policy_loss(log_ratio, tokens.advantages)
    )
    torch.testing.assert_close(objective(tokens, settings)[0], (tokens.weights * expected.losses).sum())


def test_tokens_of_another_distribution_are_left_out_of_the_policy_loss_alone(tokens: Tokens) -> None:
    settings = ObjectiveSettings(sampler_correction="mask", off_policy_limit=0.05, old_logprobs="recompute")
    loss, sums = objective(tokens, settings)
    weights = sampler_weights(tokens.old_logprobs, tokens.sampler_logprobs, "mask", 2.0)
    weights = weights * on_policy(tokens.logprobs, tokens.sampler_logprobs, tokens.advantages, tokens.lengths, 0.05)
    policy = policy_loss(tokens.logprobs - tokens.old_logprobs, tokens.advantages).losses
    divergence = kl_divergence(tokens.logprobs, tokens.reference_logprobs)
    torch.testing.assert_close(loss, (tokens.weights * (weights * policy + 0.01 * divergence)).sum())
    assert 0 < sums["left_out_fraction"] == (weights == 0).sum() < 50


def test_the_ratio_cap_applies_to_the_samplers_probabilities_only(tokens: Tokens) -> None:
    for source, old, differs in (("sampler", True, True), ("sampler", False, False), ("recompute", True, False)):
        given = tokens if old else tokens._replace(old_logprobs=None)
        losses = [
            objective(given, ObjectiveSettings(kl_weight=0.0, old_logprobs=source, clip_dual=0.0, ratio_cap=cap))[0]
            for cap in (0.0, 1.1)
        ]
        assert (losses[0] != losses[1]) == differs


def test_a_further_term_needs_one_entry(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = objective(tokens, ObjectiveSettings())
    further = Term(
        lambda t, _: Part(t.logprobs.square(), {"square": t.logprobs.square()}), lambda _: 0.5, lambda _: ("square",)
    )
    monkeypatch.setitem(objectives.TERMS, "square", further)
    after, sums = objective(tokens, ObjectiveSettings())
    torch.testing.assert_close(after - before, 0.5 * (tokens.weights * tokens.logprobs.square()).sum())
    assert sums["square"] == tokens.logprobs.square().sum()


def test_every_choice_of_the_settings_exists() -> None:
    choices = {setting.name: set(setting.choices) for setting in fields(Settings)}
    assert choices["advantage"] == ADVANTAGES.keys()
    assert choices["kl_estimator"] == KL_ESTIMATORS.keys()
    assert choices["ratio"] == RATIOS.keys()


def test_every_term_names_its_measures(tokens: Tokens) -> None:
    for settings in (
        ObjectiveSettings(),
        ObjectiveSettings(sampler_correction="mask", off_policy_limit=0.1, seeing_weight=1.0, entropy_weight=1.0),
    ):
        for term in active_terms(settings):
            assert tuple(term.function(tokens, settings).measures) == term.measures(settings)
