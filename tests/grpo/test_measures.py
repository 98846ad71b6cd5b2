"""The measures of a training step: shares and spread of each reward component."""

import math
from array import array
from statistics import fmean, stdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.experience import Experience
from pebr.grpo.measures import of_answers, overview


def group(values: list[float]) -> Experience:
    """A question whose answers have these values of the component "keyword"."""
    answers = len(values)
    return Experience(
        row=0,
        question={},
        prompt_tokens=1,
        token_ids=[array("l", [1])] * answers,
        logprobs=[array("f", [0.0])] * answers,
        finish_reasons=["stop"] * answers,
        responses=[""] * answers,
        rewards=values,
        components={"keyword": values},
        advantages=torch.tensor(values) - fmean(values),
    )


def test_shares_at_0_and_1_and_the_spread_within_groups() -> None:
    measures = of_answers([group([0.0, 1.0, 1.0, 0.5]), group([0.25, 0.25, 0.25, 0.25])])
    assert measures["reward/keyword"] == pytest.approx(3.5 / 8)
    assert measures["reward_at_0/keyword"] == 1 / 8
    assert measures["reward_at_1/keyword"] == 2 / 8
    assert measures["reward_spread/keyword"] == pytest.approx(stdev([0.0, 1.0, 1.0, 0.5]) / 2)


def test_a_penalty_which_is_at_best_0_has_no_shares() -> None:
    made = group([0.0, 0.0])._replace(components={"overlong": [0.0, -0.5], "keyword": [0.0, -0.5]})
    measures = of_answers([made])
    assert measures["reward/overlong"] == -0.25
    assert not {"reward_at_0/overlong", "reward_at_1/overlong"} & measures.keys()
    assert measures["reward_at_0/keyword"] == 0.5


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_the_spread_is_zero_exactly_if_no_group_teaches(groups: list[list[float]]) -> None:
    experiences = [group(values) for values in groups]
    spread = of_answers(experiences)["reward_spread/keyword"]
    assert (spread == 0.0) is not any(experience.teaches for experience in experiences)


def test_one_answer_per_question_has_no_spread() -> None:
    assert of_answers([group([0.5])])["reward_spread/keyword"] == 0.0


def test_the_summary_has_the_measures_of_the_last_tenth() -> None:
    row = {"reward": 0.5, "kl": 0.1, "entropy": 2.0, "response_tokens": 8.0, "zero_advantage_share": 0.0}
    row |= {"seconds_sampling": 1.0, "seconds_rewards": 1.0, "seconds_training": 1.0}
    rows = [row | {"reward_at_1/clip": i / 20, "clip_cut_off_share": i / 40} for i in range(20)]
    summary = overview(rows)
    assert math.isclose(summary["reward_at_1/clip"], 18.5 / 20)
    assert math.isclose(summary["clip_cut_off_share"], 18.5 / 40)
