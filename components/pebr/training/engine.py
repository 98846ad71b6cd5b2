"""The training engine of SFT and GRPO: DeepSpeed ZeRO 0 to 3 with `update`, `checkpoint` and `resume`.

`update` takes any number of micro-batches of any size, and a loss that is already normalised over the whole optimizer
update and all ranks. Gradients are sums over micro-batches and ranks, never means of means. So neither the split into
micro-batches nor the number of ranks changes an update beyond rounding.
"""

import copy
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pebr.errors import Preempted
from pebr.files import partial
from pebr.step.launch import Place, StopSignal
from pebr.telemetry import metrics
from pebr.training import randomness, recomputation, zero
from pebr.training.checkpoints import Checkpoints
from pebr.training.engine_settings import EngineSettings
from pebr.training.gathering import gather
from pebr.training.lora import Weight, adapters_of, weights_of
from pebr.training.schedule import learning_rate
from pebr.training.sharded import Run, share, write_index, write_shard

log = logging.getLogger(__name__)
MicroBatch = TypeVar("MicroBatch")

REFUSALS_IN_A_ROW = 5  # after so many refused updates in a row the run is stopped


@dataclass(frozen=True)
class UpdateReport:
    """Result of one optimizer update."""

    loss: float  # sum over micro-batches and ranks
    grad_norm: float  # of the whole gradient, before it is scaled down; NaN or infinite if the update was refused
    learning_rate: float  # of this update
    refused: bool  # the loss or a gradient was not finite, so nothing was changed


class DivergedError(RuntimeError):
    """Loss or gradient of several updates in a row is not finite. The checkpoint has the weights before them."""


class TrainingEngine:
    """A model and its optimizer, shared by all ranks.

    All ranks must start with the same weights, and call each method together.

    Args:
        module: called by the loss. Parameters with `requires_grad` are trained.
        settings: of the engine.
        place: of this process, from `launch.join`.
        weights: the Hugging Face model inside `module`, for the names in `gathered_parameters`; None: `module` itself.
        checkpoints: of this run; None for none.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: EngineSettings,
        place: Place,
        weights: nn.Module | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.settings = settings
        self.place = place
        self.rank, self.world_size, self.device = place
        self.weights = module if weights is None else weights
        self._checkpoints = checkpoints
        self._stop = StopSignal()
        self.step = 0  # optimizer updates done, including refused ones
        self.refused_steps = 0
        self._refused_in_a_row = 0
        self._chosen = False  # whether `auto` has chosen which layers recompute
        self._saved_step = 0  # step of the newest checkpoint; before the first update there is nothing to save
        self._saved_at = time.monotonic()  # when it was begun
        on_gpu = self.device.type == "cuda"
        if settings.gradient_checkpointing not in ("off", "auto"):
            recomputation.use(self.weights, recomputation.interval(settings.gradient_checkpointing))
        module.train().to(self.device)
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in module.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._deepspeed = zero.initialize(module, self._optimizer, settings.deepspeed(self.device), on_gpu)

    @property
    def module(self) -> nn.Module:
        """DeepSpeed's engine around the module: what the loss calls. Outside `update`, call it without gradients."""
        return self._deepspeed  # type: ignore[no-any-return]

    def update(
        self,
        micro_batches: Sequence[MicroBatch],
        loss: Callable[[nn.Module, MicroBatch], Tensor],
        filler: MicroBatch | None = None,
    ) -> UpdateReport:
        """Make one optimizer update from the micro-batches of all ranks.

        Args:
            micro_batches: of this rank. Ranks may have different numbers of them.
            loss: function of the module and a micro-batch that calls the module once. Returns a scalar; the update's
                loss is the sum of these over micro-batches and ranks.
            filler: used with weight 0 if this rank has fewer micro-batches than another, because sharded ranks must
                run equally many passes; None: this rank's last micro-batch.

        Raises:
            ValueError: neither a micro-batch nor a filler.
        """
        if filler is None and not micro_batches:
            raise ValueError(f"rank {self.rank} has no micro-batch: give a filler")
        filler = micro_batches[-1] if filler is None else filler
        if self.settings.gradient_checkpointing == "auto" and not self._chosen:
            self._choose_recomputation(micro_batches)
        rounds = int(self._agree(max(len(micro_batches), 1), dist.ReduceOp.MAX))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for turn in range(rounds):
            mine = turn < len(micro_batches)
            self._deepspeed.set_gradient_accumulation_boundary(turn == rounds - 1)
            value = loss(self._deepspeed, micro_batches[turn] if mine else filler)
            if mine:
                total += value.detach()
            # The factor undoes DeepSpeed's division by the number of ranks. A loss that is not finite must make the
            # gradient not finite.
            weight = self.world_size if mine else 0.0
            self._deepspeed.backward(value * torch.where(value.detach().isfinite(), weight, math.nan))
        chosen = self.settings
        rate = learning_rate(chosen.schedule, chosen.learning_rate, self.step, chosen.total_steps, chosen.warmup_ratio)
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = rate
        norm = self._apply()
        dist.all_reduce(total)
        self.step += 1
        report = UpdateReport(total.item(), norm, rate, refused=not math.isfinite(norm))
        self._count_refusals(report)
        return report

    def gathered_parameters(self, bucket_bytes: int = 1 << 30) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight's Hugging Face name and full value, as forward passes read it.

        A value is valid until the next one is requested. Tied weights come once; LoRA adapters are merged. With ZeRO-3,
        weights are gathered in buckets of `bucket_bytes`.
        """
        yield from self._gathered(weights_of(self.weights), bucket_bytes)

    def gathered_adapters(self, bucket_bytes: int = 1 << 30) -> Iterator[tuple[str, Tensor]]:
        """Yield the LoRA adapters, as `gathered_parameters` does the weights."""
        yield from self._gathered(adapters_of(self.weights), bucket_bytes)

    def _gathered(self, weights: Iterator[Weight], bucket_bytes: int) -> Iterator[tuple[str, Tensor]]:
        if self.settings.zero_stage == 3:
            yield from zero.gathered(weights, bucket_bytes)
        else:
            yield from ((weight.name, weight.value()) for weight in weights)

    @torch.no_grad()
    def resume(self) -> dict[str, Any] | None:
        """Resume from the newest complete checkpoint: weights, moments, step, all random number generators.

        Returns:
            The `state` that was passed to `checkpoint`; None if there is no checkpoint, and nothing is changed. If it
            was another run's (`--resume-from`), the key `resumed_from` says which.

        Raises:
            InputError: the checkpoint is of another model.
        """
        saved = self._checkpoints.newest() if self._checkpoints else None
        if saved is None:
            return None
        zero.load(self._deepspeed, saved)
        for counter in zero.optimizer_steps(self._deepspeed):
            counter.fill_(saved.index["optimizer_steps"])
        self.step = self._saved_step = saved.index["step"]
        self.refused_steps, self._refused_in_a_row = saved.index["refused"]
        randomness.restore(saved.rank_state(self.rank)["random"])
        saved.close()
        log.info("resumed from the checkpoint of step %d: %s", self.step, saved.directory)
        state: dict[str, Any] = saved.index["state"]
        if self._checkpoints is not None and self._checkpoints.resumed_from:
            state["resumed_from"] = self._checkpoints.resumed_from
        return state

    @torch.no_grad()
    def restore(self, step: int) -> None:
        """Load the weights of the checkpoint after `step` optimizer updates, to write them; not to train on.

        Raises:
            InputError: the checkpoint is missing or damaged.
        """
        if self._checkpoints is None:
            raise ValueError(f"step {step}: no checkpoints")
        saved = self._checkpoints.at(step)
        zero.load(self._deepspeed, saved)
        saved.close()

    def is_due(self, step: int, every: int, minutes: float) -> bool:
        """Whether a checkpoint is due after a training step: `every` so many, or so many `minutes` after the last one.

        0 stands for never. The first rank whose time is over decides for all.
        """
        late = bool(minutes) and time.monotonic() - self._saved_at >= 60 * minutes
        return bool(minutes and self._agree(float(late), dist.ReduceOp.MAX)) or bool(every and step % every == 0)

    def checkpoint(self, state: Mapping[str, object], due: bool, best: int = 0) -> None:
        """Write a checkpoint in the background if it is due, or at once if the run must end here.

        Call it after each training step, and wherever `resume` can continue from. `state` is further state, JSON, that
        the run needs to resume: position in the data, counters. The checkpoint after `best` updates, if not 0, is kept.

        Raises:
            DivergedError: several updates in a row were refused; a checkpoint of the weights before them is written.
            Preempted: a rank got SIGTERM; the checkpoint is written.
        """
        stop = bool(self._agree(float(self._stop.received), dist.ReduceOp.MAX))
        diverged = self._refused_in_a_row >= REFUSALS_IN_A_ROW
        if self._checkpoints is not None:
            if (due or stop or diverged) and self.step > self._saved_step:
                self._save(self._checkpoints, state, best)
            if stop or diverged:
                self._checkpoints.close()
        if diverged:
            raise DivergedError(
                f"steps {self.step - self._refused_in_a_row + 1} to {self.step}: loss or gradient is not finite: lower"
                " the learning rate or check the data; the checkpoint has the weights before these steps"
            )
        if stop:
            raise Preempted(
                f"stopped by SIGTERM after step {self.step}; the checkpoint is written, start again to resume"
            )

    def _save(self, checkpoints: Checkpoints, state: Mapping[str, object], best: int) -> None:
        """Start writing a checkpoint of the current state."""
        checkpoints.wait()  # before the copy below: one copy in memory, not two
        runs = []
        for piece in zero.pieces(self._deepspeed):
            part = slice(None)
            if self.settings.zero_stage == 0:  # every rank has everything: each writes its share
                part = share(torch.Size(piece.shape).numel(), self.rank, self.world_size)
            for key, view in piece.tensors.items():
                values = view[part].to("cpu", copy=True)
                runs.append(Run(f"{key}:{piece.name}", piece.shape, piece.start + (part.start or 0), values))
        checkpoints.save(
            self.step,
            [run for run in runs if len(run.values)],
            {"random": randomness.capture()},
            {
                "state": copy.deepcopy(dict(state)),  # written later, when the caller may have changed it
                "optimizer_steps": float(zero.optimizer_steps(self._deepspeed)[0]),
                "refused": [self.refused_steps, self._refused_in_a_row],
            },
            best,
        )
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def finish(self) -> None:
        """Wait until the last checkpoint is written."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def save_sharded(self, directory: Path) -> None:
        """Write the weights that forward passes read, each rank its share. `consolidate` makes one model of them.

        The directory appears on rank 0's machine when it is complete, and replaces an older one.
        """
        runs = []
        for name, value in self.gathered_parameters():
            part = share(value.numel(), self.rank, self.world_size)
            values = value.reshape(-1)[part].to("cpu", copy=True)
            if len(values):
                runs.append(Run(name, tuple(value.shape), part.start, values))
        beside = partial(directory)
        if self.rank == 0:  # files of a killed run, perhaps of more ranks
            shutil.rmtree(beside, ignore_errors=True)
        dist.barrier()
        written = write_shard(beside, self.rank, self.world_size, runs)
        gather(beside, written, self._checkpoints.location if self._checkpoints else "", self.rank)
        if self.rank == 0:
            write_index(beside, self.world_size)
            shutil.rmtree(directory, ignore_errors=True)
            beside.rename(directory)
        dist.barrier()

    def _choose_recomputation(self, micro_batches: Sequence[object]) -> None:
        """Recompute as few layers as the free memory needs; the rank with the least decides for all."""
        steps = recomputation.STEPS
        own = recomputation.choose(self.weights, micro_batches, self.settings.row_tokens, self.device)
        recomputation.use(self.weights, steps[int(self._agree(steps.index(own), dist.ReduceOp.MAX))])
        self._chosen = True

    def _apply(self) -> float:
        """Step the optimizer, or drop a gradient that is not finite. Returns the gradient's norm."""
        if self.settings.zero_stage == 0:
            gradients = [p.grad for p in self._deepspeed.module.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if not norm.isfinite():
                self._deepspeed.zero_grad()
                return float(norm)
            if self.settings.max_grad_norm:
                for gradient in gradients:  # the same formula as DeepSpeed's
                    gradient.mul_(1.0 / ((norm + 1e-6) / self.settings.max_grad_norm).clamp(min=1.0))
            self._deepspeed.step()
            return float(norm)
        self._deepspeed.step()
        return float(self._deepspeed.get_global_grad_norm()) if self._deepspeed.was_step_applied() else math.nan

    def _count_refusals(self, report: UpdateReport) -> None:
        if not report.refused:
            self._refused_in_a_row = 0
            return
        self.refused_steps += 1
        self._refused_in_a_row += 1
        metrics.record("pebr_updates_refused_total")
        log.warning("step %d refused: loss %s, gradient norm %s", self.step, report.loss, report.grad_norm)

    def _agree(self, value: float, operation: dist.ReduceOp.RedOpType) -> float:
        """Reduce a number over the ranks."""
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation)
        return tensor.item()
