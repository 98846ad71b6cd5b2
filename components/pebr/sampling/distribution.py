"""The distribution of an answer's next token, and drawing from it.

Each row is independent of the others: from logits and one uniform number follow a token and its log-probability. The
draw inverts the cumulative distribution. So a token needs one random number, and a rounding difference in the logits
changes a token only if the random number falls into that difference: about once in ten million tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def next_token_logprobs(logits: Tensor, temperature: float, top_p: float, banned: Sequence[int]) -> Tensor:
    """Log-probabilities of the distribution that is sampled from.

    The order is that of vLLM: ban, divide by the temperature, cut to the nucleus, normalize again.

    Args:
        logits: (B, V) of the model.
        temperature: divides the logits. At 0 the result is that of 1 without a cut: the most likely token is taken,
            with the model's own log-probability.
        top_p: the smallest set of most likely tokens with at least this probability is kept.
        banned: tokens that get probability 0.

    Returns:
        (B, V) float32; -inf where the probability is 0.
    """
    logits = logits.float()
    if banned:
        logits = logits.index_fill(1, torch.tensor(banned, device=logits.device), -torch.inf)
    if temperature == 0:
        return logits.log_softmax(dim=-1)
    logprobs = (logits / temperature).log_softmax(dim=-1)
    if top_p == 1:
        return logprobs
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    before = ordered.double().exp().cumsum(dim=-1) - ordered.double().exp()  # probability of all more likely tokens
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return logprobs.masked_fill(outside, -torch.inf).log_softmax(dim=-1)


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token per row by inverting the cumulative distribution.

    Args:
        logprobs: (B, V).
        uniforms: (B,) float64 in [0, 1).

    Returns:
        (B,) tokens; none has probability 0.
    """
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    heights = (1 - uniforms)[:, None] * cumulative[:, -1:]  # in (0, total], so some token reaches it
    return torch.searchsorted(cumulative, heights)[:, 0]


def uniforms_of(seeds: Sequence[int], length: int) -> Tensor:
    """Uniform random numbers of samples with these seeds.

    Returns:
        (B, length) float64 in [0, 1), on the CPU; row i depends only on seeds[i].
    """
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return torch.stack(rows)
