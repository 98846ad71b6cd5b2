"""How the policy loss compares the policy with the one that sampled: by token, or by whole answers (GSPO).

    token           r_t = new_t / old_t
    sequence        s = (product of r_t over the answer's tokens) ^ (1 / tokens)       (GSPO, arXiv 2507.18071, eq. 7)
    sequence_token  the value of s, with the gradient of s at the token alone          (GSPO-token, eq. 14)

The two forms of GSPO have the same gradient if all tokens of an answer have the same advantage and the same weight.
They differ with advantages per token.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def answer_means(values: Tensor, lengths: Tensor) -> Tensor:
    """The mean over each token's answer, at every token of it.

    Args:
        values: (T,) of tokens; those of an answer are neighbours.
        lengths: (A,) tokens of each answer; they add up to T.

    Returns:
        (T,), differentiable in `values`.

    >>> answer_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2, 1])).tolist()
    [2.0, 2.0, 5.0]
    """
    if not len(values):
        return values
    means = torch.segment_reduce(values, "mean", lengths=lengths, unsafe=True)  # unsafe: no check that waits for a GPU
    return means.repeat_interleave(lengths, output_size=len(values))


def _sequence_token(log_ratio: Tensor, lengths: Tensor) -> Tensor:
    return answer_means(log_ratio.detach(), lengths) + (log_ratio - log_ratio.detach())


# Values of the setting `ratio`. A function maps log-ratios of tokens, (T,), and the lengths of answers to log-ratios.
RATIOS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "token": lambda log_ratio, _: log_ratio,
    "sequence": answer_means,
    "sequence_token": _sequence_token,
}
