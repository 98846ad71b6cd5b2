"""How an answer's advantage is shared among its tokens: by how much they depend on the image.

The dependency of a token is KL(policy || policy in the blind view) over the vocabulary, at the token's place. Tokens
that follow from the text alone have none. The weights multiply the advantages.

Sources: PGPO, arXiv 2604.01840; VPPO, arXiv 2510.09285.
"""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

PGPO_THRESHOLD, PGPO_BOOST = 0.4, 2.0  # tau and beta of the paper
VPPO_SHARE, VPPO_LEAST = 0.4, 0.9  # share of tokens that are kept, smallest scale of an answer
_EVEN = 1e-6  # dependencies that differ by less are equal


def pgpo_weights(dependencies: Tensor) -> Tensor:
    """Weights of one answer's tokens, (R,), from their dependencies, (R,). They add up to R.

    With s = log(1 + dependency), scaled to [0, 1] within the answer: s / tau below tau, 1 + beta (s - tau) / (1 - tau)
    from it on; then scaled to a mean of 1. If all tokens depend alike, all weights are 1.

    >>> [round(w, 2) for w in pgpo_weights(torch.tensor([0.0, 0.1, 1.0])).tolist()]
    [0.0, 0.31, 2.69]
    """
    scores = dependencies.clamp(min=0).log1p()
    spread = scores.max() - scores.min()
    if spread < _EVEN:
        return torch.ones_like(scores)
    scores = (scores - scores.min()) / spread
    above = 1 + PGPO_BOOST * (scores - PGPO_THRESHOLD) / (1 - PGPO_THRESHOLD)
    weights = torch.where(scores < PGPO_THRESHOLD, scores / PGPO_THRESHOLD, above)
    return weights / weights.mean()


def vppo_mask(dependencies: Tensor) -> Tensor:
    """1 for the tokens of one answer with the largest dependencies, a share of `VPPO_SHARE`, else 0; (R,).

    If all tokens depend alike, as without an image, all have 1.

    >>> vppo_mask(torch.tensor([0.1, 0.0, 0.7, 0.2, 0.3])).tolist()
    [0.0, 0.0, 1.0, 0.0, 1.0]
    """
    if dependencies.max() - dependencies.min() < _EVEN:
        return torch.ones_like(dependencies)
    kept = dependencies.sort(descending=True, stable=True).indices[: math.ceil(VPPO_SHARE * len(dependencies))]
    return torch.zeros_like(dependencies).index_fill(0, kept, 1.0)


def vppo_scales(means: Tensor) -> Tensor:
    """Scales of an update's answers, from the mean dependency of each. All ranks must call this.

    With m scaled to [0, 1] over the update: least + m (most - least), where `most` makes the mean scale 1.

    Args:
        means: (A,) of this rank's answers.

    Returns:
        (A,) float64; 1 if all means are equal.
    """
    means = means.double()
    extremes = torch.tensor([-math.inf, -math.inf], dtype=torch.float64)
    if len(means):
        extremes = torch.stack([-means.min(), means.max()])
    dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    lowest, highest = -extremes[0], extremes[1]
    even = not highest - lowest > _EVEN
    scaled = torch.zeros_like(means) if even else (means - lowest) / (highest - lowest)
    total = torch.stack([scaled.sum(), torch.tensor(float(len(means)), dtype=torch.float64)])
    dist.all_reduce(total)
    if even:
        return torch.ones_like(means)
    most = VPPO_LEAST + (1 - VPPO_LEAST) / (total[0] / total[1])
    return VPPO_LEAST + scaled * (most - VPPO_LEAST)


def token_weights(kind: str, dependencies: Sequence[Tensor]) -> list[Tensor]:
    """The weights of the tokens of each answer of an update. All ranks must call this.

    Args:
        kind: `pgpo` or `vppo`.
        dependencies: per answer of this rank, (R,).
    """
    if kind == "pgpo":
        return [pgpo_weights(values) for values in dependencies]
    scales = vppo_scales(torch.tensor([float(values.mean()) for values in dependencies]))
    return [scale * vppo_mask(values) for scale, values in zip(scales.tolist(), dependencies, strict=True)]
