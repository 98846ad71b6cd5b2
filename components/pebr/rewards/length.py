"""The length reward: limits the length of the image description."""

from collections.abc import Callable

from pebr.rewards.batch import RewardBatch

FREE_TOKENS = 512  # a description of at most this many tokens scores 1 (authors' released code)


def length_reward(batch: RewardBatch, count_tokens: Callable[[str], int]) -> list[float]:
    """One value in [0, 1] per sample, (S,): 1 for a description of 1 to 512 tokens, 512 / tokens for a longer one.

    An empty description scores 0. `count_tokens` gives the number of tokens of a text, by the model's tokenizer.
    """
    counts = {text: count_tokens(text) for text in {response.description for response in batch.parsed}}
    return [
        min(1.0, FREE_TOKENS / max(counts[response.description], 1)) if response.description else 0.0
        for response in batch.parsed
    ]
