"""Each condition holds for its fault, for no other, and not in a healthy run."""

import random
from typing import Any

import pytest

from pebr.telemetry.conditions import CONDITIONS, RECENT, conditions

GRPO: dict[str, Any] = {
    "reward": 0.5, "reward/accuracy": 0.5, "reward_at_0/accuracy": 0.5, "truncated_share": 0.02,
    "zero_advantage_share": 0.4, "kl": 0.02, "entropy": 0.2, "drift/kl": 0.001, "refused_updates": 0, "loss": 0.01,
    "validation/reward": 0.5, "seconds_sampling": 6.0, "seconds_training": 4.0,
}  # fmt: skip
SFT: dict[str, Any] = {"loss": 0.5, "validation/loss": 0.6, "seconds": 1.0}


def run_of(good: dict[str, Any], change: dict[str, Any], steps: int = 20) -> list[dict[str, Any]]:
    """A healthy run whose last training steps have a fault."""
    chance = random.Random(3)
    rows = [
        {key: value * chance.uniform(0.95, 1.05) if isinstance(value, float) else value for key, value in good.items()}
        for _ in range(steps)
    ]
    for row in rows[-RECENT:]:
        row.update(change)
    return rows


@pytest.mark.parametrize("good", [GRPO, SFT])
@pytest.mark.parametrize("steps", [0, 1, 4, 5, 40])
def test_none_holds_in_a_healthy_run(good: dict[str, Any], steps: int) -> None:
    assert conditions(run_of(good, {}, steps), age=60.0) == []


@pytest.mark.parametrize(
    ("good", "change", "name", "said"),
    [
        (GRPO, {"drift/kl": 0.08}, "drift_rising", "0.080 nats"),
        (GRPO, {"kl": 1.5}, "kl_running_away", "1.50 nats"),
        (GRPO, {"entropy": 1.5}, "entropy_running_away", "to 1.500 nats per token: answers become noise"),
        (GRPO, {"entropy": 0.01}, "entropy_running_away", "answers become all the same"),
        (GRPO, {"zero_advantage_share": 0.95}, "advantages_gone", "95% of the questions teach nothing"),
        (GRPO, {"truncated_share": 0.4}, "answers_cut_off", "40% of the answers"),
        (GRPO, {"refused_updates": 2, "loss": None}, "updates_refused", "10 updates"),
        (GRPO, {"reward_at_0/accuracy": 1.0}, "reward_at_zero", "0 for accuracy"),
        (GRPO, {"validation/reward": 0.3}, "validation_falling", "reward 0.300 after 0.5"),
        (SFT, {"validation/loss": 0.9}, "validation_falling", "loss 0.900 after 0.5"),
        (SFT, {"loss": None}, "updates_refused", "5 updates"),
        (SFT, {"loss": 2.5}, "loss_rising", "to 2.50"),
    ],
)
def test_a_condition_names_its_fault(good: dict[str, Any], change: dict[str, Any], name: str, said: str) -> None:
    [condition] = conditions(run_of(good, change))
    assert condition.name == name
    assert said in condition.text
    assert name in CONDITIONS


def test_one_bad_training_step_is_no_alarm() -> None:
    rows = run_of(GRPO, {})
    rows[-3] = rows[-3] | {"truncated_share": 0.9, "kl": 1.0, "drift/kl": 0.1, "zero_advantage_share": 1.0}
    assert conditions(rows) == []


@pytest.mark.parametrize(("seconds", "age", "stalled"), [(10.0, 1700, False), (10.0, 1900, True), (600.0, 5000, False)])
def test_a_run_is_stalled_by_the_measure_of_its_own_steps(seconds: float, age: float, stalled: bool) -> None:
    rows = run_of(GRPO | {"seconds_sampling": seconds, "seconds_training": 0.0}, {})
    assert [c.name for c in conditions(rows, age)] == ["stalled"] * stalled
    assert conditions(rows) == []  # it does not run
