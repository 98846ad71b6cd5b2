"""Do sampler and trainer mean the same model? Their log-probabilities of the same tokens say so.

Both should give one number to a sampled token: the trainer by its forward pass, the sampler as it drew it. They differ
by roundings (other kernels, other shapes; in bfloat16 about 0.01 a token), and by far more when weights were not
synced, a cache is stale, or one side does not know of the other's temperature or banned tokens. Then the ratio of
GRPO's loss is wrong, and nothing else shows it.

With top_p < 1 the sampler's distribution is cut and normalised again, the trainer's is not: the sampler's numbers are
then greater by minus the logarithm of the nucleus' probability, at most -ln(top_p) (0.01 for 0.99).
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

BAND = 0.2  # nats: a token beyond it is not a matter of rounding


class DriftError(RuntimeError):
    """Sampler and trainer disagree so much that training on the samples would be wrong."""


@dataclass(frozen=True)
class Drift:
    """The difference d = trainer's minus sampler's log-probability, in nats, over sampled tokens."""

    tokens: int
    mean: float  # of |d|
    largest: float  # |d|
    kl: float  # of the trainer's distribution from the sampler's a token, estimated by the mean of exp(d) - 1 - d
    beyond: float  # share of tokens with |d| > BAND

    def row(self) -> dict[str, float]:
        """The numbers under the names of the history file."""
        return {"drift/mean": self.mean, "drift/max": self.largest, "drift/kl": self.kl, "drift/beyond": self.beyond}

    def check(self, limit: float) -> None:
        """Stop the run when the distributions are further apart than `limit` nats a token.

        Raises:
            DriftError: with the numbers and what to look at.
        """
        if not self.kl <= limit:  # a NaN is no agreement either
            raise DriftError(
                f"sampler and trainer disagree: mismatch KL {self.kl:.3g} a token (limit {limit:g}), mean |difference|"
                f" {self.mean:.3g}, largest {self.largest:.3g}, {self.beyond:.1%} of {self.tokens} tokens beyond"
                f" {BAND}:"
                " look for weights that were not synced, stale caches, or a temperature that only one of them has"
            )


class DriftMeter:
    """Gathers the differences of a step, over micro-batches and ranks.

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
        """Count tokens, given their log-probabilities on both sides, (T,) each."""
        if not len(sampler):
            return
        difference = (trainer.detach().double() - sampler.double()).cpu()
        size = difference.abs()
        kl = torch.expm1(difference) - difference
        self._sums += torch.stack([torch.tensor(len(size)), size.sum(), kl.sum(), (size > BAND).sum()])
        self._largest = torch.maximum(self._largest, size.max())

    def drift(self) -> Drift:
        """What was gathered, of all ranks; the meter is empty again."""
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
