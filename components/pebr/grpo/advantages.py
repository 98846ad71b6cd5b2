"""Advantages of answers within their group. GRPO uses them in place of a value model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EPSILON = 1e-6  # added to the standard deviation


def _std(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-6) with the unbiased standard deviation (GRPO, DeepSeekMath, arXiv 2402.03300)."""
    return _mean(rewards) / (rewards.std() + EPSILON)


def _mean(rewards: Tensor) -> Tensor:
    """r - mean, which does not favour groups of small variance (Dr. GRPO, arXiv 2503.20783)."""
    return rewards - rewards.mean()


# Values of the setting `advantage`. A function maps the rewards of a group, (G,) float64, to its advantages, (G,).
ADVANTAGES: dict[str, Callable[[Tensor], Tensor]] = {"std": _std, "mean": _mean}


def group_advantages(rewards: Sequence[Sequence[float]], kind: str) -> list[Tensor]:
    """Compute the advantage of each answer relative to its group.

    If all rewards of a group are equal, or it has none, its advantages are exactly 0, without rounding errors of the
    mean.

    Args:
        rewards: G rewards per group.
        kind: key of `ADVANTAGES`.

    Returns:
        One (G,) float32 tensor per group.

    >>> [round(a, 3) for a in group_advantages([[1.0, 0.0, 0.0, 1.0]], "std")[0].tolist()]
    [0.866, -0.866, -0.866, 0.866]
    >>> group_advantages([[0.1, 0.1, 0.1]], "std")[0].tolist()
    [0.0, 0.0, 0.0]
    """
    groups = [torch.tensor(group, dtype=torch.float64) for group in rewards]
    return [
        (torch.zeros_like(group) if bool((group == group[:1]).all()) else ADVANTAGES[kind](group)).float()
        for group in groups
    ]
