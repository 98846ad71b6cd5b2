"""What is done about tokens and answers for which the sampler's probabilities differ from the trainer's.

Sampler and trainer compute the same model with other kernels. Where they differ, tokens come from a distribution that
is not quite the trainer's, and the policy loss may be corrected for it.
"""

import torch
from torch import Tensor

from pebr.grpo.loss import LOG_RATIO_LIMIT
from pebr.grpo.ratios import answer_means


def sampler_weights(trainer_logprobs: Tensor, sampler_logprobs: Tensor, kind: str, cap: float) -> Tensor:
    """Weights of tokens by w = trainer's probability / sampler's, both before the update.

    `truncate`: min(w, cap), truncated importance sampling (IMPALA, arXiv 1802.01561). `mask`: w where it is between
    1 / cap and cap, else 0: the token is left out (as in IcePop, with bounds of equal factors).

    Args:
        trainer_logprobs: (T,) of the policy before the training step's first update.
        sampler_logprobs: (T,).
        kind: `truncate` or `mask`.
        cap: above 1.

    Returns:
        (T,), without gradient.

    >>> logprobs = torch.tensor([0.0, 1.0, -1.0])
    >>> sampler_weights(logprobs, torch.zeros(3), "mask", cap=2.0).tolist()
    [1.0, 0.0, 0.0]
    """
    log_weights = (trainer_logprobs - sampler_logprobs).detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    weights = log_weights.exp()
    if kind == "truncate":
        return weights.clamp(max=cap)
    return torch.where((weights <= cap) & (weights * cap >= 1), weights, 0.0)


def on_policy(logprobs: Tensor, sampler_logprobs: Tensor, advantages: Tensor, lengths: Tensor, limit: float) -> Tensor:
    """Whether a token's answer is close enough to the policy to be trained on (DeepSeek-V3.2, arXiv 2512.02556, eq. 9).

    An answer is left out if its advantage is negative and the policy gives its tokens, on average, `limit` nats less
    than the sampler did: pushing such an answer down further destabilises the training.

    Args:
        logprobs: (T,) of the policy.
        sampler_logprobs: (T,).
        advantages: (T,).
        lengths: (A,) tokens of each answer.
        limit: in nats per token.

    Returns:
        (T,) bool.
    """
    drift = answer_means((sampler_logprobs - logprobs).detach(), lengths)
    return (advantages >= 0) | (drift <= limit)
