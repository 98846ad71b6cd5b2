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
from pebr.grpo.credit import token_weights
from pebr.grpo.experience import Experience
from pebr.grpo.measures import Sums
from pebr.grpo.micro_batches import MicroBatch, Packer
from pebr.grpo.objective import active_terms, measures, objective
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
    sums: Sums = field(default_factory=partial(Sums, ()))  # of the last training step
    drift: DriftMeter = field(default_factory=DriftMeter)
    seconds: dict[str, float] = field(default_factory=dict)  # of the last training step
    # Log-probabilities, the sampler's and the trainer's; and which are of another image, None: none are
    _compared: list[tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=list)

    def step(self, updates: Sequence[Sequence[Experience]]) -> list[UpdateReport]:
        """Make the updates of a training step in order. Afterwards `sums` and `drift` describe the step's tokens.

        Every rank passes the experiences of each update of all ranks.
        """
        self.sums = Sums(measures(self.settings))
        watch = Stopwatch(self.engine.device)
        with watch.part("waiting"):
            self.packer.gather(updates)
        numbered = list(enumerate(updates, start=self.engine.step))
        batches: Iterable[list[MicroBatch]] = watch.each("waiting", read_ahead(self._pack, numbered, ahead=1))
        if len(updates) > 1 and self.settings.old_logprobs == "recompute":  # all before the first update
            batches = [self._computed("old_logprobs", self.engine.module, update) for update in batches]
        elif len(updates) > 1:
            batches = ([batch._replace(old_logprobs=batch.sampler_logprobs) for batch in update] for update in batches)
        reports = []
        for number, update in enumerate(batches):
            complete = update
            if self.reference is not None:
                with watch.part("reference"):
                    complete = self._computed("reference_logprobs", self.reference, complete)
            with watch.part("update"):
                complete = self._seen(complete)
                reports.append(self.engine.update(complete, partial(self._loss, first=number == 0), self.packer.filler))
        for sampler, trainer, disturbed in self._compared:
            # Tokens with NaN are not drift: the engine refuses the update, counts it, and stops the run after a few.
            if not trainer.isnan().any():
                same = slice(None) if disturbed is None else ~disturbed
                self.drift.add(sampler=sampler[same], trainer=trainer.cpu()[same])
        self._compared.clear()
        self.seconds = watch.seconds()
        return reports

    def _pack(self, numbered: tuple[int, Sequence[Experience]]) -> list[MicroBatch]:
        step, update = numbered
        return self.packer.pack(update, step)

    def _seen(self, batches: list[MicroBatch]) -> list[MicroBatch]:
        """Add what the objective needs to know of the blind view, if anything."""
        if self.settings.credit != "even":
            batches = self._weighted(batches)
        if any(term.needs_blind for term in active_terms(self.settings)):
            batches = self._computed("blind_logprobs", self.engine.module, batches)
        return batches

    def _weighted(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Multiply the advantages of each batch by token weights."""
        dependencies = self._passes(self.engine.module, batches, blind=True, compare=True)
        lengths = [batch.row.segments.unique_consecutive(return_counts=True)[1].tolist() for batch in batches]
        answers = [a for values, sizes in zip(dependencies, lengths, strict=True) for a in values.cpu().split(sizes)]
        weights = iter(token_weights(self.settings.credit, answers))
        return [
            batch._replace(advantages=batch.advantages * torch.cat([next(weights) for _ in sizes]))
            for batch, sizes in zip(batches, lengths, strict=True)
        ]

    def _computed(self, name: str, module: nn.Module, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Fill a field with a module's log-probabilities, `blind_logprobs` with those of the blind view."""
        found = self._passes(module, batches, blind=name == "blind_logprobs")
        return [
            batch._replace(**{name: logprobs})  # type: ignore[arg-type]
            for batch, logprobs in zip(batches, found, strict=True)
        ]

    @torch.no_grad()
    def _passes(
        self, module: nn.Module, batches: Sequence[MicroBatch], blind: bool = False, compare: bool = False
    ) -> list[Tensor]:
        """What a module computes of each batch, (T,) each. Ranks call sharded modules equally often."""
        most = torch.tensor(len(batches))
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        rows = [(batch.row, batch.hidden if blind else None) for batch in batches]
        rows += [(self.packer.filler.row, None)] * (int(most) - len(batches))
        device, temperature = self.engine.device, self.temperature
        return [module(row.to(device), temperature, hidden, compare)[0] for row, hidden in rows][: len(batches)]

    def _loss(self, module: nn.Module, batch: MicroBatch, first: bool) -> Tensor:
        """A batch's part of the update's loss."""
        logprobs, entropies = module(batch.row.to(self.engine.device), self.temperature)
        loss, sums = objective(batch.tokens(logprobs, entropies), self.settings)
        self.sums.add(len(logprobs), sums)
        # In a step's first update, trainer and sampler have the same weights, so a difference is drift between engines.
        if first:
            self._compared.append((batch.sampler_logprobs, logprobs.detach(), batch.disturbed))
        return loss
