"""The policy loss of CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4): the ratio is a bounded weight and not a gate."""

from torch import Tensor

from pebr.grpo.loss import LOG_RATIO_LIMIT, PolicyLoss


def cispo_loss(
    log_ratio: Tensor, logprobs: Tensor, advantages: Tensor, clip_low: float = 1.0, clip_high: float = 4.0
) -> PolicyLoss:
    """Compute -clip(r, 1 - clip_low, 1 + clip_high) A log(new), without a gradient through the clipped ratio.

    Unlike in the clipped surrogate, every token keeps a gradient, also beyond the bounds.

    Args:
        log_ratio: (T,) of the policy to the one that sampled.
        logprobs: (T,) of the policy, differentiable.
        advantages: (T,).
        clip_low: the weight is at least 1 minus this; 1 for no lower bound, as in the paper.
        clip_high: the weight is at most 1 plus this.
    """
    ratio = log_ratio.detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    weight = ratio.clamp(1 - clip_low, 1 + clip_high)
    return PolicyLoss(-weight * advantages * logprobs, weight != ratio)
