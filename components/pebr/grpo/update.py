"""Optimizer updates of GRPO: experience in, packed rows through policy and reference, one AdamW step per update.

No forward pass is wasted. Without a term that needs it, there is no reference pass. Old log-probabilities are
recomputed only if a step has several updates and `old_logprobs` is `recompute`.

A GPU does not wait for the processor between micro-batches: log-probabilities and measures stay on it until the end of
the step, so that the next micro-batch is started while this one is computed. A thread packs the next update meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pebr.data.read_ahead import read_ahead
from pebr.grpo.experience import Experience
from pebr.grpo.measures import Sums
from pebr.grpo.micro_batches import MicroBatch, Packer
from pebr.grpo.objective import MEASURES, objective
from pebr.grpo.settings import ObjectiveSettings
from pebr.grpo.stopwatch import Stopwatch
from pebr.sampling.drift import DriftMeter
from pebr.training.engine import TrainingEngine, UpdateReport


@dataclass
class Updater:
    """Turns experience into optimizer updates."""

    engine: TrainingEngine  # of the policy
    reference: nn.Module | None  # the frozen initial policy; None if no term needs it
    packer: Packer
    settings: ObjectiveSettings
    temperature: float  # of the log-probabilities
    sums: Sums = field(default_factory=partial(Sums, MEASURES))  # of the last training step
    drift: DriftMeter = field(default_factory=DriftMeter)
    seconds: dict[str, float] = field(default_factory=dict)  # of the last training step
    _compared: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # log-probabilities: sampler's, trainer's

    def step(self, updates: Sequence[Sequence[Experience]]) -> list[UpdateReport]:
        """Make the updates of a training step in order. Afterwards `sums` and `drift` describe the step's tokens.

        Every rank passes the experiences of each update of all ranks.
        """
        self.sums = Sums(MEASURES)
        watch = Stopwatch(self.engine.device)
        with watch.part("waiting"):
            self.packer.gather(updates)
        batches: Iterable[list[MicroBatch]] = watch.each("waiting", read_ahead(self.packer.pack, updates, ahead=1))
        if len(updates) > 1 and self.settings.old_logprobs == "recompute":  # all before the first update
            batches = [self._computed("old_logprobs", self.engine.module, update) for update in batches]
        elif len(updates) > 1:
            batches = ([batch._replace(old_logprobs=batch.sampler_logprobs) for batch in update] for update in batches)
        reports = []
        for number, update in enumerate(batches):
            complete = update
            if self.reference is not None:
                with watch.part("reference"):
                    complete = self._computed("reference_logprobs", self.reference, update)
            with watch.part("update"):
                reports.append(self.engine.update(complete, partial(self._loss, first=number == 0), self.packer.filler))
        for sampler, trainer in self._compared:
            # Tokens with NaN are not drift: the engine refuses the update, counts it, and stops the run after a few.
            if not trainer.isnan().any():
                self.drift.add(sampler=sampler, trainer=trainer.cpu())
        self._compared.clear()
        self.seconds = watch.seconds()
        return reports

    @torch.no_grad()
    def _computed(self, name: str, module: nn.Module, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Fill a field of each batch with a module's log-probabilities. Ranks call sharded modules equally often."""
        most = torch.tensor(len(batches))
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        rows = [batch.row for batch in batches] + [self.packer.filler.row] * (int(most) - len(batches))
        found = [module(row.to(self.engine.device), self.temperature)[0] for row in rows]
        return [batch._replace(**{name: logprobs}) for batch, logprobs in zip(batches, found, strict=False)]

    def _loss(self, module: nn.Module, batch: MicroBatch, first: bool) -> Tensor:
        """A batch's part of the update's loss."""
        logprobs, entropies = module(batch.row.to(self.engine.device), self.temperature)
        loss, sums = objective(batch.tokens(logprobs, entropies), self.settings)
        self.sums.add(len(logprobs), sums)
        # In a step's first update, trainer and sampler have the same weights, so a difference is drift between engines.
        if first:
            self._compared.append((batch.sampler_logprobs, logprobs.detach()))
        return loss
