"""The rollouts dataset contains every component of every reward."""

from array import array
from pathlib import Path

import pytest
import torch

from pebr.answers.check import AnswerChecker
from pebr.data.shards import iter_rows, read_manifest
from pebr.grpo.experience import Experience
from pebr.grpo.record import Rollouts
from pebr.rewards.batch import RewardBatch
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import Tools, build_reward
from pebr.toy.world import question


def test_the_weighted_components_of_a_step_add_up_to_its_rewards(tmp_path: Path) -> None:
    asked = question(0, "rl", 0)
    responses = [
        asked.response,
        asked.response.replace("### Rationales:", ""),
        f"### Image Description: {asked.answer}",
    ]
    with AnswerChecker() as checker:
        settings = RewardSettings(stage="perception", clip_weight=0.0, reward="tests.grpo.rewards:vowels=0.3")
        reward = build_reward(settings, Tools(checker, len))
        scores = reward.reward(
            RewardBatch(
                qids=[asked.qid] * 3,
                questions=[asked.problem] * 3,
                references=[asked.answer] * 3,
                responses=responses,
                response_tokens=[9] * 3,
                key_words=[asked.key_words] * 3,
                images=[[]] * 3,
            )
        )
    experience = Experience(
        row=0,
        question={"qid": asked.qid, "problem": asked.problem, "answer": asked.answer, "key_words": asked.key_words},
        prompt_tokens=7,
        token_ids=[array("l", [1, 2])] * 3,
        logprobs=[array("f", [-1.0, -2.0])] * 3,
        finish_reasons=["stop"] * 3,
        responses=responses,
        rewards=scores.total,
        components=scores.raw,
        advantages=torch.zeros(3),
    )
    rollouts = Rollouts(str(tmp_path / "kept"), reward.weights, "paper")
    rollouts.write(1, [experience])
    rollouts.complete(tmp_path / "rollouts", steps=1)

    [row] = iter_rows(tmp_path / "rollouts")
    for response, total in zip(row["responses"], scores.total, strict=True):
        weighted, raw = dict(response["weighted"]), dict(response["components"])
        assert sum(weighted.values()) == pytest.approx(response["reward"]) == pytest.approx(total)
        assert weighted == pytest.approx({name: reward.weights[name] * value for name, value in raw.items()})
    assert len(set(scores.total)) == 3
    extra = read_manifest(tmp_path / "rollouts").extra
    assert extra == {"reward_weights": reward.weights, "reward_mode": "paper"}
