"""The accuracy reward: 1 for a right final answer, else 0."""

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.rewards.batch import RewardBatch
from pebr.vlm.reading import read_answer
from pebr.vlm.settings import Reading


def accuracy_reward(batch: RewardBatch, checker: AnswerChecker, reading: Reading) -> list[float]:
    """1 if the final answer equals the reference, else 0: (S,).

    The options of a multiple-choice question come from the dataset's column `options`, else from the question's text.
    """
    given = [read_answer(response, reading).text for response in batch.responses]
    columns = batch.extra.get("options") or [None] * len(batch)
    options = [options_of(*row) for row in zip(batch.questions, columns, strict=True)]
    return [float(right) for right in checker.check(given, batch.references, options)]
