"""Advantages of answers relative to their group: what GRPO has in place of a value model."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Advantage = Literal["std", "mean"]

EPSILON = 1e-6  # added to the standard deviation


def group_advantages(rewards: Sequence[Sequence[float]], kind: Advantage) -> list[Tensor]:
    """The advantage of each answer over its group.

    `std`: (r - mean) / (std + 1e-6) with the unbiased standard deviation (GRPO, DeepSeekMath, arXiv 2402.03300).
    `mean`: r - mean, which does not favour groups of little variance (Dr. GRPO, arXiv 2503.20783).

    A group of equal rewards has advantages of exactly 0, whatever rounding makes of its mean.

    Args:
        rewards: the rewards of each group's G answers.
        kind: which of the two.

    Returns:
        One (G,) float32 tensor a group.

    >>> [round(a, 3) for a in group_advantages([[1.0, 0.0, 0.0, 1.0]], "std")[0].tolist()]
    [0.866, -0.866, -0.866, 0.866]
    >>> group_advantages([[0.1, 0.1, 0.1]], "std")[0].tolist()
    [0.0, 0.0, 0.0]
    """
    return [_advantages(torch.tensor(group, dtype=torch.float64), kind).float() for group in rewards]


def _advantages(rewards: Tensor, kind: Advantage) -> Tensor:
    if bool((rewards == rewards[0]).all()):
        return torch.zeros_like(rewards)
    centred = rewards - rewards.mean()
    return centred if kind == "mean" else centred / (rewards.std() + EPSILON)
