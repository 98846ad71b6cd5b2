"""The loss of GRPO, token by token: pure functions, values in, values out.

    loss = sum over tokens of weight * (policy loss + kl_weight * KL)

with weights that add up over the whole optimizer batch and all ranks, so that no split of it changes the sum.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

KlEstimator = Literal["k1", "k2", "k3"]
Normalisation = Literal["token", "sequence", "dr_grpo"]

LOG_RATIO_LIMIT = 20.0  # exp(20) is still far from float32's end
KL_LIMIT = 10.0


class PolicyLoss(NamedTuple):
    """The policy loss of T tokens."""

    losses: Tensor  # (T,)
    clipped: Tensor  # (T,) bool: a bound holds here, and the token has no gradient


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.3,
    clip_dual: float = 3.0,
    ratio_cap: float = 0.0,
) -> PolicyLoss:
    """The clipped surrogate of PPO (arXiv 1707.06347), negated so that less is better.

    With r = exp(new - old): max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)), the upper bound apart from the lower
    (clip-higher, DAPO, arXiv 2503.14476), and at most -A clip_dual where A < 0 (dual clip, arXiv 1912.09729).

    Args:
        logprobs: (T,) of the policy, differentiable.
        old_logprobs: (T,) of the policy that sampled; the policy's own, detached, where a batch is used once.
        advantages: (T,) of each token's answer.
        clip_low: how far below 1 the ratio counts.
        clip_high: how far above 1 the ratio counts.
        clip_dual: bound of the ratio for negative advantages, above 1; 0 means none.
        ratio_cap: the ratio is truncated here, for old log-probabilities that another engine computed; 0 means none.
            A truncated token counts, and moves the policy, as one whose ratio is the cap: unlike a clipped one it
            keeps its gradient (truncated importance sampling, IMPALA, arXiv 1802.01561). Where A > 0 the upper clip
            comes first; where A < 0 a cap below clip_dual stands in its place.

    >>> policy_loss(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([1.0])).losses.item()  # clipped at 1.3
    -1.2999999523162842
    """
    ratio = (logprobs - old_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    if ratio_cap:
        ratio = torch.where(ratio > ratio_cap, ratio_cap * (ratio / ratio.detach()), ratio)
    plain = -advantages * ratio
    losses = torch.maximum(plain, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if clip_dual:
        losses = torch.where(advantages < 0, torch.minimum(losses, -advantages * clip_dual), losses)
    return PolicyLoss(losses, (losses != plain).detach())


def kl_divergence(logprobs: Tensor, reference_logprobs: Tensor, estimator: KlEstimator = "k3") -> Tensor:
    """An estimate of KL(policy || reference) at each sampled token, differentiable in `logprobs`.

    Schulman's estimators (joschu.net/blog/kl-approx.html) with d = clamp(reference - new, -20, 20): k1 = -d,
    k2 = d^2 / 2, k3 = exp(d) - d - 1 (the one of GRPO, arXiv 2402.03300); each clamped to [-10, 10].

    Args:
        logprobs: (T,) of the policy.
        reference_logprobs: (T,) of the reference.
        estimator: which.

    >>> kl_divergence(torch.tensor([-1.0]), torch.tensor([-1.0])).item()
    0.0
    """
    d = (reference_logprobs - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if estimator == "k1":
        estimate = -d
    elif estimator == "k2":
        estimate = d.square() / 2
    else:
        estimate = torch.expm1(d) - d
    return estimate.clamp(-KL_LIMIT, KL_LIMIT)


def answer_weights(
    lengths: Sequence[int], total_tokens: int, total_answers: int, kind: Normalisation, max_response_tokens: int
) -> Tensor:
    """The weight of each token of an answer, one a answer.

    `token`: 1 / tokens of the batch (DAPO, arXiv 2503.14476). `sequence`: 1 / (answers of the batch x tokens of the
    answer) (GRPO, arXiv 2402.03300). `dr_grpo`: 1 / (answers of the batch x longest length allowed), which favours no
    length (Dr. GRPO, arXiv 2503.20783).

    Args:
        lengths: (S,) tokens of each answer here.
        total_tokens: tokens of all answers of the optimizer batch, over all ranks.
        total_answers: answers of the optimizer batch, over all ranks.
        kind: which.
        max_response_tokens: the longest length allowed.

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
