"""The accuracy reward: 1 for a right final answer, else 0."""

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.rewards.batch import RewardBatch


def accuracy_reward(batch: RewardBatch, checker: AnswerChecker) -> list[float]:
    """1 if the final answer equals the reference, else 0: (S,).

    The options of a multiple-choice question come from the dataset's column `options`, else from the question's text.
    """
    given = [response.answer for response in batch.parsed]
    columns = batch.extra.get("options") or [None] * len(batch)
    options = [options_of(*row) for row in zip(batch.questions, columns, strict=True)]
    return [float(right) for right in checker.check(given, batch.references, options)]
