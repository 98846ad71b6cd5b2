"""Drift between sampler and trainer."""

import math

import pytest
import torch

from pebr.sampling.drift import BAND, DriftError, DriftMeter


def test_equal_probabilities_are_no_drift() -> None:
    meter = DriftMeter()
    meter.add(torch.tensor([-0.5, -3.0]), torch.tensor([-0.5, -3.0]))
    drift = meter.drift()
    assert drift.row() == {"drift/mean": 0.0, "drift/max": 0.0, "drift/kl": 0.0, "drift/beyond": 0.0}
    drift.check(0.0)


def test_micro_batches_add_up_and_the_meter_starts_anew() -> None:
    sampler, trainer = -torch.rand(100) * 5, -torch.rand(100) * 5
    whole, parts = DriftMeter(), DriftMeter()
    whole.add(sampler, trainer)
    for part in (slice(0, 7), slice(7, 7), slice(7, 100)):
        parts.add(sampler[part], trainer[part])
    one, other = whole.drift(), parts.drift()
    assert one.row() == pytest.approx(other.row())
    assert one.tokens == other.tokens == 100
    assert parts.drift().tokens == 0


def test_the_mismatch_is_the_divergence_of_the_distributions() -> None:
    """For many tokens from known distributions, the estimate is the KL divergence between them."""
    torch.manual_seed(0)
    sampler, trainer = (torch.randn(20).log_softmax(0), torch.randn(20).log_softmax(0))
    tokens = torch.multinomial(sampler.exp(), 200_000, replacement=True)
    meter = DriftMeter()
    meter.add(sampler[tokens], trainer[tokens])
    drift = meter.drift()
    assert drift.kl == pytest.approx((sampler.exp() * (sampler - trainer)).sum().item(), rel=0.02)
    assert drift.beyond == pytest.approx(sampler.exp()[(sampler - trainer).abs() > BAND].sum().item(), abs=0.01)


@pytest.mark.parametrize("wrong", [2.0, math.nan])
def test_a_great_drift_stops_the_run(wrong: float) -> None:
    meter = DriftMeter()
    meter.add(torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -2.0 + wrong]))
    with pytest.raises(DriftError, match="weights that were not synced"):
        meter.drift().check(0.1)
