"""Dynamic sampling: questions that teach nothing are replaced by others."""

import json

import pytest

from pebr.grpo.questions import Plan
from tests.grpo.conftest import finish, history


def test_the_reserve_is_what_a_step_does_not_ask():
    plan = Plan(range(20), 8, 4, 2, 0, 0)
    for step in range(plan.steps):
        chosen = {row for update in plan.updates(step) for row in update}
        assert sorted([*chosen, *plan.reserve(step)]) == list(range(20))
    assert plan.reserve(0) == plan.reserve(0) != plan.reserve(1)


@pytest.mark.slow
def test_questions_without_a_difference_in_reward_are_replaced_whatever_the_number_of_ranks(command, tmp_path):
    changes = {"reward": "tests.grpo.rewards:vowels_of_some=1", "max_steps": 2}
    rows = {}
    for name, further in (
        ("without", {}),
        ("with", {"replacement_rounds": 3}),
        ("on two ranks", {"replacement_rounds": 3, "processes": 2}),
    ):
        finish(command(tmp_path / name, **changes, **further))
        rows[name] = history(tmp_path / name)
    for without, replaced, on_two in zip(*rows.values(), strict=True):
        assert "questions_replaced" not in without
        dull = without["zero_advantage_share"] * 8
        assert replaced["questions_replaced"] == pytest.approx(dull - replaced["zero_advantage_share"] * 8) != 0
        for key in ("questions_replaced", "zero_advantage_share", "reward", "loss"):
            assert on_two[key] == pytest.approx(replaced[key], rel=2e-3, abs=1e-5), json.dumps(replaced)
