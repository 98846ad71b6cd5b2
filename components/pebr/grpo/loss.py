"""Formulas of the GRPO loss as pure functions: the clipped surrogate, KL estimators, token weights.

`pebr.grpo.objective` composes them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0  # exp(20) is far below the largest float32
KL_LIMIT = 10.0


class PolicyLoss(NamedTuple):
    """The policy loss of T tokens."""

    losses: Tensor  # (T,)
    clipped: Tensor  # (T,) bool: a bound of the ratio is active


def policy_loss(
    log_ratio: Tensor,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.3,
    clip_dual: float = 3.0,
    ratio_cap: float = 0.0,
) -> PolicyLoss:
    """Compute the clipped surrogate of PPO (arXiv 1707.06347), negated so that it is minimised.

    With r = exp(log_ratio): max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)). The two bounds are independent
    (clip-higher, DAPO, arXiv 2503.14476). If A < 0, the loss is at most -A clip_dual (dual clip, arXiv 1912.09729).
    A clipped token has no gradient.

    Args:
        log_ratio: (T,) of the policy to the one that sampled, differentiable; see `pebr.grpo.ratios`.
        advantages: (T,) advantage of each token's answer.
        clip_low: the ratio is clipped below at 1 minus this.
        clip_high: the ratio is clipped above at 1 plus this.
        clip_dual: bound of the ratio for negative advantages, above 1. 0 means no bound.
        ratio_cap: the ratio is truncated to this value, for old log-probabilities from another engine. 0 means no cap.
            A truncated token has the loss and the gradient of a token whose ratio is the cap, while a clipped token has
            no gradient (truncated importance sampling, IMPALA, arXiv 1802.01561). If A > 0, the upper clip applies
            first. If A < 0, a cap below clip_dual replaces clip_dual.

    >>> policy_loss(torch.tensor([0.5]), torch.tensor([1.0])).losses.item()  # clipped at 1.3
    -1.2999999523162842
    """
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    if ratio_cap:
        ratio = torch.where(ratio > ratio_cap, ratio_cap * (ratio / ratio.detach()), ratio)
    plain = -advantages * ratio
    losses = torch.maximum(plain, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if clip_dual:
        losses = torch.where(advantages < 0, torch.minimum(losses, -advantages * clip_dual), losses)
    return PolicyLoss(losses, (losses != plain).detach())


# Schulman's estimators (joschu.net/blog/kl-approx.html) as functions of d = reference - new. GRPO uses k3.
KL_ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda d: -d,
    "k2": lambda d: d.square() / 2,
    "k3": lambda d: torch.expm1(d) - d,
}


def kl_divergence(logprobs: Tensor, reference_logprobs: Tensor, estimator: str = "k3") -> Tensor:
    """Estimate KL(policy || reference) at each sampled token, differentiable in `logprobs`.

    The difference d is clamped to [-20, 20], the estimate to [-10, 10].

    Args:
        logprobs: (T,) of the policy.
        reference_logprobs: (T,) of the reference.
        estimator: key of `KL_ESTIMATORS`.

    >>> kl_divergence(torch.tensor([-1.0]), torch.tensor([-1.0])).item()
    0.0
    """
    d = (reference_logprobs - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return KL_ESTIMATORS[estimator](d).clamp(-KL_LIMIT, KL_LIMIT)


def answer_weights(
    lengths: Sequence[int], total_tokens: int, total_answers: int, kind: str, max_response_tokens: int
) -> Tensor:
    """Compute the weight of the tokens of each answer.

    `token`: 1 / tokens of the batch (DAPO, arXiv 2503.14476). `sequence`: 1 / (answers of the batch x tokens of the
    answer) (GRPO, arXiv 2402.03300). `dr_grpo`: 1 / (answers of the batch x max_response_tokens), which does not depend
    on the length (Dr. GRPO, arXiv 2503.20783).

    Args:
        lengths: (S,) tokens of each answer of this part of the batch.
        total_tokens: tokens of all answers of the optimizer update, over all ranks.
        total_answers: answers of the optimizer update, over all ranks.
        kind: `token`, `sequence` or `dr_grpo`.
        max_response_tokens: longest answer allowed.

    Returns:
        (S,) float32.

    >>> answer_weights([2, 8], total_tokens=10, total_answers=2, kind="sequence", max_response_tokens=20).tolist()
    [0.25, 0.0625]
    """
    if kind == "token":
        return torch.full((len(lengths),), 1.0 / total_tokens)
    if kind == "sequence":
        return 1.0 / (total_answers * torch.tensor(lengths, dtype=torch.float32))
    return torch.full((len(lengths),), 1.0 / (total_answers * max_response_tokens))
