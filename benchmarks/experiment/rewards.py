"""The accuracy reward as a custom reward, for a stage that has it beside the perception rewards."""

from pebr.answers.check import AnswerChecker
from pebr.rewards.accuracy import accuracy_reward
from pebr.rewards.batch import RewardBatch


def accuracy(batch: RewardBatch) -> list[float]:
    """1 for a right final answer, else 0: (S,)."""
    with AnswerChecker() as checker:  # answers of the board are words: no process is started
        return accuracy_reward(batch, checker, "strict")
