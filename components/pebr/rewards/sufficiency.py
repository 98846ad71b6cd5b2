"""The self-sufficiency reward: 1 if the question can be answered from the response's own description alone.

The model is asked again, without the image, with its description in the image's place (Vision-SR1, arXiv 2508.19652;
the Observer's reward of PRCO, arXiv 2603.28618). `pebr.grpo.second_pass` samples these answers.
"""

from dataclasses import replace

from pebr.answers.check import AnswerChecker
from pebr.rewards.accuracy import accuracy_reward
from pebr.rewards.batch import RewardBatch, RewardError
from pebr.vlm.settings import Reading


def sufficiency_reward(batch: RewardBatch, checker: AnswerChecker, reading: Reading) -> list[float]:
    """1 if the answer from the description alone equals the reference, else 0: (S,).

    A response without a description has no such answer, "", and scores 0.

    Raises:
        RewardError: the batch has no answers from descriptions.
    """
    if len(batch) and not batch.retold:
        raise RewardError("sufficiency: no answers from descriptions: only a GRPO stage samples them")
    return accuracy_reward(replace(batch, responses=batch.retold), checker, reading)
