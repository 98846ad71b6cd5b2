"""Equivalent settings of the real command give the same losses and rewards, step by step."""

import pytest

from tests.grpo.conftest import finish, history

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    finish(command(folder))
    return history(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens_per_batch": 160},
        {"tokens_per_batch": 600},
        {"gradient_checkpointing": "true"},
        {"processes": 2},
        {"processes": 4},
        {"zero_stage": 1},
        {"zero_stage": 2, "processes": 2},
        {"zero_stage": 3, "processes": 2, "tokens_per_batch": 300},
        {"zero_stage": 3, "gradient_checkpointing": "every=2", "reference": "host"},
        {"zero_stage": 3, "processes": 2, "offload": "optimizer", "gradient_checkpointing": "auto"},
        {"old_logprobs": "recompute"},
    ],
    ids=str,
)
def test_same_history(plain, command, tmp_path, changes):
    finish(command(tmp_path, **changes))
    found = history(tmp_path)
    assert len(found) == len(plain) == 3
    for one, other in zip(found, plain, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if name.startswith("drift"):
                assert one[name] < 1e-5
            else:
                assert one[name] == pytest.approx(value, rel=2e-3, abs=1e-5), (one["step"], name)


def test_it_learns_what_is_rewarded(command, tmp_path):
    finish(command(tmp_path, max_steps=30, questions_per_update=8, save_every=0, epochs=12, futile_steps=0))
    rewards = [row["reward"] for row in history(tmp_path)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.03
