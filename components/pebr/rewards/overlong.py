"""The overlong penalty: answers near the token limit lose reward gradually (DAPO, arXiv 2503.14476, eq. 13)."""

from pebr.rewards.batch import RewardBatch


def overlong_reward(batch: RewardBatch, overlong_tokens: int, max_response_tokens: int) -> list[float]:
    """One value in [-1, 0] per sample, (S,): 0 up to the last `overlong_tokens` tokens before the limit, -1 at it.

    In between, it falls evenly with each token. So an answer that is cut off gets -1.

    Args:
        batch: the samples.
        overlong_tokens: the number of tokens over which the penalty grows; at most `max_response_tokens` of them count.
        max_response_tokens: the token limit of an answer.
    """
    margin = min(overlong_tokens, max_response_tokens)
    free = max_response_tokens - margin
    return [-min(max(tokens - free, 0) / margin, 1.0) for tokens in batch.response_tokens]
