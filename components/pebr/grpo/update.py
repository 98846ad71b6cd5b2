"""One optimizer update of GRPO: experience in, packed rows through the policy and the reference, one step of AdamW.

No pass is wasted: without a KL term there is no reference and groups that teach nothing are left out (their loss is
exactly 0, though their tokens count in the normalisation); where a step has a single update, or the sampler's
log-probabilities serve, nothing is computed twice.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pebr.grpo.experience import Experience
from pebr.grpo.loss import answer_weights, kl_divergence, policy_loss
from pebr.grpo.settings import Settings
from pebr.sampling.drift import DriftMeter
from pebr.training.balance import deal
from pebr.training.engine import TrainingEngine, UpdateReport
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.rows import Group, Row, blank_row, pack


class MicroBatch(NamedTuple):
    """A packed row of T predicted tokens, with what the loss needs to know of each."""

    row: Row
    advantages: Tensor  # (T,)
    weights: Tensor  # (T,) its share in the loss
    sampler_logprobs: Tensor  # (T,)
    old_logprobs: Tensor | None = None  # (T,) the ratio's denominator; None: the policy's own
    reference_logprobs: Tensor | None = None  # (T,) None: no KL term


class Sums:
    """Sums over the tokens of a step, on this rank."""

    NAMES = ("tokens", "entropy", "kl", "clipped")

    def __init__(self) -> None:
        self.values = torch.zeros(len(self.NAMES), dtype=torch.float64)

    def add(self, **values: Tensor | float) -> None:
        """Add to the named sums."""
        for name, value in values.items():
            self.values[self.NAMES.index(name)] += float(value)

    def means(self) -> dict[str, float]:
        """Means over the tokens of all ranks, under the names of the history; all ranks must call this."""
        dist.all_reduce(self.values)
        tokens, *sums = self.values.tolist()
        entropy, kl, clipped = (value / max(tokens, 1.0) for value in sums)
        return {"entropy": entropy, "kl": kl, "clip_fraction": clipped}


class Updater:
    """Turns experience into optimizer updates.

    Args:
        engine: holds the policy.
        reference: the frozen initial policy; None where the KL weight is 0.
        encoder: of the model.
        prompt_of: the encoded question of a row of the dataset.
        settings: of the stage.
    """

    def __init__(
        self,
        engine: TrainingEngine,
        reference: nn.Module | None,
        encoder: Encoder,
        prompt_of: Callable[[int], Prompt],
        settings: Settings,
    ) -> None:
        self.engine = engine
        self.reference = reference
        self.encoder = encoder
        self.prompt_of = prompt_of
        self.settings = settings
        self.sums = Sums()
        self.drift = DriftMeter()
        self._first_update = True
        nothing = torch.zeros(0)
        self._filler = MicroBatch(
            blank_row(encoder), nothing, nothing, nothing, nothing, None if reference is None else nothing
        )

    def step(self, updates: Sequence[Sequence[Experience]]) -> list[UpdateReport]:
        """The updates of a step, one after another; `sums` and `drift` have the step's tokens afterwards.

        Args:
            updates: the experience of each, of all ranks; every rank calls this with the same.
        """
        self.sums = Sums()
        several = len(updates) > 1
        batches: Iterable[list[MicroBatch]] = map(self._micro_batches, updates)
        if several and self.settings.old_logprobs == "recompute":  # all before the first update
            batches = [self._with_old_logprobs(update) for update in batches]
        elif several:
            batches = ([batch._replace(old_logprobs=batch.sampler_logprobs) for batch in update] for update in batches)
        reports = []
        for number, update in enumerate(batches):
            self._first_update = number == 0
            reports.append(self.engine.update(self._with_reference(update), self._loss, self._filler))
        return reports

    def _micro_batches(self, experiences: Sequence[Experience]) -> list[MicroBatch]:
        """This rank's rows of an update: groups dealt by their length, answers numbered through."""
        useful = [e for e in experiences if e.teaches or self.reference is not None]
        hands = deal([e.prompt_tokens + e.answer_tokens for e in useful], self.engine.world_size)
        mine = [useful[index] for index in hands[self.engine.rank]]
        if not mine:
            return []
        lengths = torch.tensor([len(ids) for e in mine for ids in e.token_ids])
        weights = answer_weights(
            lengths.tolist(),
            sum(e.answer_tokens for e in experiences),
            sum(len(e.token_ids) for e in experiences),
            self.settings.normalisation,
            self.settings.max_response_tokens,
        )
        advantages = torch.cat([e.advantages for e in mine])
        logprobs = torch.cat([torch.tensor(values) for e in mine for values in e.logprobs])
        starts = lengths.cumsum(0) - lengths
        numbers = iter(range(len(lengths)))
        groups = [Group(self.prompt_of(e.row), e.token_ids, [next(numbers) for _ in e.token_ids]) for e in mine]
        return [
            MicroBatch(
                row,
                advantages=advantages[row.segments],
                weights=weights[row.segments],
                sampler_logprobs=logprobs[starts[row.segments] + row.offsets],
            )
            for row in pack(groups, self.settings.tokens_per_batch, self.encoder)
        ]

    def _with_old_logprobs(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        found = self._logprobs(self.engine.module, batches)
        return [batch._replace(old_logprobs=logprobs) for batch, logprobs in zip(batches, found, strict=True)]

    def _with_reference(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        if self.reference is None:
            return list(batches)
        found = self._logprobs(self.reference, batches)
        return [batch._replace(reference_logprobs=logprobs) for batch, logprobs in zip(batches, found, strict=True)]

    @torch.no_grad()
    def _logprobs(self, module: nn.Module, batches: Sequence[MicroBatch]) -> list[Tensor]:
        """A module's log-probabilities of each batch's tokens; sharded ranks call it equally often."""
        most = torch.tensor(len(batches))
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        rows = [batch.row for batch in batches] + [self._filler.row] * (int(most) - len(batches))
        found = [module(row.to(self.engine.device), self.settings.temperature)[0].cpu() for row in rows]
        return found[: len(batches)]

    def _loss(self, module: nn.Module, batch: MicroBatch) -> Tensor:
        """A batch's part of the update's loss."""
        device, settings = self.engine.device, self.settings
        logprobs, entropies = module(batch.row.to(device), settings.temperature)
        old = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs.to(device)
        capped = settings.old_logprobs == "sampler" and batch.old_logprobs is not None
        policy = policy_loss(
            logprobs,
            old,
            batch.advantages.to(device),
            settings.clip_low,
            settings.clip_high,
            settings.clip_dual,
            settings.ratio_cap if capped else 0.0,
        )
        losses = policy.losses
        if batch.reference_logprobs is not None:
            divergence = kl_divergence(logprobs, batch.reference_logprobs.to(device), settings.kl_estimator)
            losses = losses + settings.kl_weight * divergence
            self.sums.add(kl=divergence.detach().sum())
        self.sums.add(tokens=len(losses), entropy=entropies.sum(), clipped=policy.clipped.sum())
        # Trainer and sampler have the same weights in a step's first update: what differs is drift between engines. A
        # NaN is another matter: the engine refuses the update, counts it, and stops the run after a few.
        if self._first_update and not logprobs.isnan().any():
            self.drift.add(sampler=batch.sampler_logprobs, trainer=logprobs.cpu())
        return (batch.weights.to(device) * losses).sum()
