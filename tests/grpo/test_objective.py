"""The objective is the weighted sum of its terms, and settings name what exists."""

import pytest
import torch

from pebr.grpo import objective as objectives
from pebr.grpo.advantages import ADVANTAGES
from pebr.grpo.loss import KL_ESTIMATORS, kl_divergence, policy_loss
from pebr.grpo.objective import MEASURES, TERMS, Part, Term, Tokens, objective
from pebr.grpo.settings import ObjectiveSettings, Settings
from pebr.step.settings import fields


@pytest.fixture
def tokens() -> Tokens:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(50, generator=generator) for _ in Tokens._fields]
    return Tokens(*values)._replace(weights=torch.rand(50, generator=generator) / 50)


def test_the_loss_is_the_weighted_sum_of_the_terms(tokens: Tokens) -> None:
    settings = ObjectiveSettings(kl_weight=0.3, old_logprobs="recompute")
    loss, sums = objective(tokens, settings)
    policy = policy_loss(tokens.logprobs, tokens.old_logprobs, tokens.advantages)
    divergence = kl_divergence(tokens.logprobs, tokens.reference_logprobs)
    torch.testing.assert_close(loss, (tokens.weights * (policy.losses + 0.3 * divergence)).sum())
    assert set(sums) == set(MEASURES)
    assert sums["clip_fraction"] == policy.clipped.sum()
    assert sums["kl"] == divergence.sum()
    assert sums["entropy"] == tokens.entropies.sum()


def test_a_term_with_coefficient_0_is_not_computed(tokens: Tokens) -> None:
    loss, sums = objective(tokens._replace(reference_logprobs=None), ObjectiveSettings(kl_weight=0.0))
    assert loss.isfinite()
    assert "kl" not in sums
    with pytest.raises(ValueError, match="reference model"):
        objective(tokens._replace(reference_logprobs=None), ObjectiveSettings(kl_weight=0.1))


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
    further = Term(lambda t, _: Part(t.logprobs.square(), {"square": t.logprobs.square()}), lambda _: 0.5, ("square",))
    monkeypatch.setitem(objectives.TERMS, "square", further)
    after, sums = objective(tokens, ObjectiveSettings())
    torch.testing.assert_close(after - before, 0.5 * (tokens.weights * tokens.logprobs.square()).sum())
    assert sums["square"] == tokens.logprobs.square().sum()


def test_every_choice_of_the_settings_exists() -> None:
    choices = {setting.name: set(setting.choices) for setting in fields(Settings)}
    assert choices["advantage"] == ADVANTAGES.keys()
    assert choices["kl_estimator"] == KL_ESTIMATORS.keys()


def test_every_term_names_its_measures(tokens: Tokens) -> None:
    for term in TERMS.values():
        assert tuple(term.function(tokens, ObjectiveSettings()).measures) == term.measures
