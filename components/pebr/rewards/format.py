"""The format reward: 1 for a response with every section once, in order, with content; else 0."""

from pebr.rewards.batch import RewardBatch


def format_reward(batch: RewardBatch) -> list[float]:
    """One value in {0, 1} a sample, (S,). What counts as a departure: `pebr.vlm.response.Problem`."""
    return [1.0 if response.well_formed else 0.0 for response in batch.parsed]
