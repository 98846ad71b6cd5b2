"""The format reward: 1 if the response has every section once, in order and not empty; else 0."""

from pebr.rewards.batch import RewardBatch


def format_reward(batch: RewardBatch) -> list[float]:
    """0 or 1 per sample, (S,). `pebr.vlm.response.Problem` lists the format errors."""
    return [1.0 if response.well_formed else 0.0 for response in batch.parsed]
