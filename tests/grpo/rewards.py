"""A reward that an untrained model can increase."""

from pebr.rewards.batch import RewardBatch


def vowels(batch: RewardBatch) -> list[float]:
    """The share of vowels in each response."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in batch.responses]


def nothing(batch: RewardBatch) -> list[float]:
    """The same for every response."""
    return [0.5] * len(batch)
