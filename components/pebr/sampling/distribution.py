"""The distribution that an answer's next token is drawn from, and the draw.

Both are functions of one row: logits and one uniform number in, a token and its log-probability out. The draw inverts
the cumulative distribution, so that a sample needs one random number a token, whatever the vocabulary, and so that a
rounding difference in the logits changes a token only when the number falls within it: about once in ten million.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def next_token_logprobs(logits: Tensor, temperature: float, top_p: float, banned: Sequence[int]) -> Tensor:
    """Log-probabilities of the distribution that is sampled from.

    Order as in vLLM: ban, divide by the temperature, cut to the nucleus, normalise again.

    Args:
        logits: (B, V) of the model.
        temperature: at 0 the result is that of 1, without a cut: the token is the likeliest one, and its
            log-probability the model's own.
        top_p: what is kept is the smallest set of likeliest tokens with at least this probability.
        banned: tokens of probability 0.

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
    before = ordered.double().exp().cumsum(dim=-1) - ordered.double().exp()  # probability of all likelier tokens
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return logprobs.masked_fill(outside, -torch.inf).log_softmax(dim=-1)


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Draw a token a row by inverting the cumulative distribution.

    Args:
        logprobs: (B, V).
        uniforms: (B,) float64 in [0, 1).

    Returns:
        (B,) tokens, none of probability 0.
    """
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    heights = (1 - uniforms)[:, None] * cumulative[:, -1:]  # in (0, total]: the first token that reaches it exists
    return torch.searchsorted(cumulative, heights)[:, 0]


def uniforms_of(seeds: Sequence[int], length: int) -> Tensor:
    """The uniform numbers of samples with these seeds.

    Returns:
        (B, length) float64 in [0, 1), on the CPU; row i depends on seeds[i] alone.
    """
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return torch.stack(rows)
