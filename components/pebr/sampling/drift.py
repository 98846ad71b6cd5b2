"""Drift between sampler and trainer: they must compute the same log-probabilities for the same tokens.

They differ by rounding (other kernels, other shapes; about 0.01 nats per token in bfloat16). They differ by far more
if weights were not synced, a cache is stale, or temperature or banned tokens differ. Then the ratio in GRPO's loss is
wrong, and nothing else shows it.

If top_p < 1, the sampler's distribution is truncated and renormalised, the trainer's is not. The sampler's
log-probabilities are then larger by -ln(probability of the nucleus), at most -ln(top_p) (0.01 for 0.99).
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

BAND = 0.2  # nats; a larger difference is not rounding


class DriftError(RuntimeError):
    """Sampler and trainer differ so much that training on the samples would be wrong."""


@dataclass(frozen=True)
class Drift:
    """Statistics of d = trainer's minus sampler's log-probability, in nats, over sampled tokens."""

    tokens: int
    mean: float  # of |d|
    largest: float  # |d|
    kl: float  # KL(sampler || trainer) per token, estimated by the mean of exp(d) - 1 - d
    beyond: float  # share of tokens with |d| > BAND

    def row(self) -> dict[str, float]:
        """The statistics under their names in the history."""
        return {"drift/mean": self.mean, "drift/max": self.largest, "drift/kl": self.kl, "drift/beyond": self.beyond}

    def check(self, limit: float) -> None:
        """Check that the KL divergence is at most `limit` nats per token.

        Raises:
            DriftError: with the statistics and what to check.
        """
        if not self.kl <= limit:  # also true for NaN
            raise DriftError(
                f"sampler and trainer disagree: KL {self.kl:.3g} nats per token (limit {limit:g}), mean |difference|"
                f" {self.mean:.3g}, largest {self.largest:.3g}, {self.beyond:.1%} of {self.tokens} tokens beyond"
                f" {BAND}: look for weights that were not synced, stale caches, or a temperature that only one side has"
            )


class DriftMeter:
    """Accumulates the differences of a training step over micro-batches and ranks.

    >>> meter = DriftMeter()
    >>> meter.add(sampler=torch.tensor([-1.0, -2.0]), trainer=torch.tensor([-1.0, -2.5]))
    >>> drift = meter.drift()
    >>> (drift.tokens, drift.mean, drift.largest, round(drift.kl, 4), drift.beyond)
    (2, 0.25, 0.5, 0.0533, 0.5)
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)  # tokens, |d|, exp(d) - 1 - d, beyond
        self._largest = torch.zeros((), dtype=torch.float64)

    def add(self, sampler: Tensor, trainer: Tensor) -> None:
        """Add tokens, given their log-probabilities from both sides, (T,) each."""
        if not len(sampler):
            return
        difference = (trainer.detach().double() - sampler.double()).cpu()
        size = difference.abs()
        kl = torch.expm1(difference) - difference
        self._sums += torch.stack([torch.tensor(len(size)), size.sum(), kl.sum(), (size > BAND).sum()])
        self._largest = torch.maximum(self._largest, size.max())

    def drift(self) -> Drift:
        """Statistics over all ranks. Resets the meter."""
        if dist.is_initialized():
            dist.all_reduce(self._sums)
            dist.all_reduce(self._largest, op=dist.ReduceOp.MAX)
        tokens, size, kl, beyond = self._sums.tolist()
        drift = Drift(
            int(tokens), size / max(tokens, 1), self._largest.item(), kl / max(tokens, 1), beyond / max(tokens, 1)
        )
        self._sums.zero_()
        self._largest.zero_()
        return drift
