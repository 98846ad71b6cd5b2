"""A reward that any model earns some of, so that an untrained one has something to learn."""

from pebr.rewards.batch import RewardBatch


def vowels(batch: RewardBatch) -> list[float]:
    """The share of vowels in each response."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in batch.responses]
