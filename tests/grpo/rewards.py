"""A reward that an untrained model can increase."""

from pebr.rewards.batch import RewardBatch


def vowels(batch: RewardBatch) -> list[float]:
    """The share of vowels in each response."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in batch.responses]


def nothing(batch: RewardBatch) -> list[float]:
    """The same for every response."""
    return [0.5] * len(batch)


def vowels_of_some(batch: RewardBatch) -> list[float]:
    """`vowels` for every second question, and the same for every response to the others."""
    return [value if int(qid[-1]) % 2 else 0.5 for qid, value in zip(batch.qids, vowels(batch), strict=True)]
