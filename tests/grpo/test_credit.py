"""Token weights equal plain transcriptions of PGPO and VPPO."""

import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.credit import pgpo_weights, token_weights, vppo_mask, vppo_scales
from pebr.step.launch import join

dependencies = st.lists(st.floats(0, 20), min_size=1, max_size=12)


def pgpo_by_hand(values: list[float]) -> list[float]:
    scores = [math.log(1 + value) for value in values]
    low, high = min(scores), max(scores)
    raw = []
    for score in scores:
        s = (score - low) / (high - low)
        raw.append(s / 0.4 if s < 0.4 else 1 + 2.0 * (s - 0.4) / (1 - 0.4))
    return [w * len(raw) / sum(raw) for w in raw]


@given(dependencies.filter(lambda values: max(values) - min(values) > 1e-3))
def test_pgpo_is_the_formula(values):
    found = pgpo_weights(torch.tensor(values, dtype=torch.float64))
    assert found.tolist() == pytest.approx(pgpo_by_hand(values), rel=1e-5, abs=1e-9)
    assert float(found.sum()) == pytest.approx(len(values))


@given(st.floats(0, 5), st.integers(1, 9))
def test_tokens_that_depend_alike_count_alike(value, length):
    assert pgpo_weights(torch.full((length,), value)).tolist() == [1.0] * length


@given(dependencies)
def test_vppo_keeps_the_largest_share(values):
    mask = vppo_mask(torch.tensor(values))
    assert int(mask.sum()) == math.ceil(0.4 * len(values))
    kept = [value for value, m in zip(torch.tensor(values).tolist(), mask, strict=True) if m]
    left = [value for value, m in zip(torch.tensor(values).tolist(), mask, strict=True) if not m]
    assert not left or min(kept) >= max(left)


@pytest.fixture(scope="module")
def place():
    return join()


@pytest.mark.parametrize("means", [[0.1, 0.5, 0.2], [3.0, 0.0], [0.7], [0.2, 0.2]])
def test_vppo_scales_answers_by_their_place_in_the_update(place, means):
    low, high = min(means), max(means)
    found = vppo_scales(torch.tensor(means)).tolist()
    if high - low < 1e-6:
        assert found == [1.0] * len(means)
        return
    scaled = [(m - low) / (high - low) for m in means]
    most = 0.9 + (1 - 0.9) / (sum(scaled) / len(scaled))
    assert found == pytest.approx([0.9 + s * (most - 0.9) for s in scaled], rel=1e-5)
    assert sum(found) / len(found) == pytest.approx(1.0)


def test_a_rank_without_answers_takes_part(place):
    assert dist.is_initialized()
    assert token_weights("vppo", []) == token_weights("pgpo", []) == []
