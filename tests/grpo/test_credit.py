"""Token weights equal plain transcriptions of PGPO and VPPO."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.credit import pgpo_weights, token_weights, vppo_mask, vppo_scales
from pebr.step.launch import join
from tests.grpo.conftest import ROOT, environment, finish, history
from tests.step.test_nodes import free_port

RANK = """
import json, sys, torch
from pebr.grpo.credit import token_weights
from pebr.step.launch import join
own = json.loads(sys.argv[1])[join().rank]
print(json.dumps([weights.tolist() for weights in token_weights("vppo", [torch.tensor(values) for values in own])]))
"""

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
    even = max(values) - min(values) < 1e-6
    assert int(mask.sum()) == (len(values) if even else math.ceil(0.4 * len(values)))
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


def on_ranks(parts: list[list[list[float]]]) -> list[list[float]]:
    """The weights of VPPO for each answer, computed by one process per part."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(parts))}
    command = [sys.executable, "-c", RANK, json.dumps(parts)]
    ranks = [
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment() | meeting | {"RANK": str(rank)}, stdout=subprocess.PIPE
        )
        for rank in range(len(parts))
    ]
    said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * len(parts)
    return [weights for text in said for weights in json.loads(text.splitlines()[-1])]


@pytest.mark.slow
def test_two_ranks_weight_the_tokens_of_an_update_as_one_does(place):
    answers = [[0.3, 0.1, 2.0], [0.0, 0.2], [5.0, 4.0, 0.5, 1.0], [0.7]]
    one = alone(answers)
    assert alone(answers[:1]) + alone(answers[1:]) != one  # ranks that did not exchange anything would differ
    assert on_ranks([answers[:1], answers[1:]]) == one
    assert on_ranks([[], answers]) == one


def alone(answers: list[list[float]]) -> list[list[float]]:
    return [weights.tolist() for weights in token_weights("vppo", [torch.tensor(values) for values in answers])]


@pytest.mark.slow
def test_two_ranks_train_by_vppo_as_one_does(command, tmp_path):
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        finish(command(folder, credit="vppo", hidden_share=0.5, max_steps=2, processes=processes))
        found.append(history(folder))
    for one, two in zip(*found, strict=True):
        for name in ("loss", "grad_norm", "reward", "kl"):
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=1e-5), name


def test_without_any_dependency_vppo_teaches_all_tokens():
    assert vppo_mask(torch.zeros(10)).tolist() == [1.0] * 10
