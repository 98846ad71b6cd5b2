"""One training engine under SFT and GRPO: DeepSpeed ZeRO 0 to 3 behind `update`, `checkpoint` and `resume`.

The engine takes micro-batches of any number and size and a loss that is already divided by the token count of the whole
optimizer batch, over all ranks. It sums: gradients are sums over micro-batches and ranks, never means of means, so that
neither the split into micro-batches nor the number of ranks changes a step beyond rounding.
"""

import copy
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pebr.errors import InputError, Preempted
from pebr.files import partial
from pebr.step.launch import Place, StopSignal
from pebr.training import randomness, zero
from pebr.training.checkpoints import Checkpoints
from pebr.training.lora import Weight, weights_of
from pebr.training.schedule import Schedule, learning_rate
from pebr.training.sharded import Run, share, write_index, write_shard

log = logging.getLogger(__name__)
MicroBatch = TypeVar("MicroBatch")

REFUSALS_IN_A_ROW = 5  # so many steps refused one after another: the run has gone wrong


@dataclass(frozen=True)
class EngineSettings:
    """What the engine may choose.

    Args:
        learning_rate: AdamW's, at its peak.
        total_steps: optimizer steps of the whole run, for the schedule.
        weight_decay: AdamW's decoupled weight decay.
        schedule: the learning rate's way after the warm-up.
        warmup_ratio: share of the steps in which the learning rate rises.
        max_grad_norm: gradients with a greater norm are scaled down to it; 0: never.
        dtype: of the forward and backward pass; weights and moments of the optimizer are float32.
        zero_stage: 0 to 3.
        gradient_checkpointing: recompute activations in the backward pass.
    """

    learning_rate: float
    total_steps: int
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup_ratio: float = 0.0
    max_grad_norm: float = 1.0
    dtype: Literal["bf16", "fp32"] = "fp32"
    zero_stage: int = 0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse what DeepSpeed cannot do, before a model is loaded.

        Raises:
            InputError: naming the setting and its remedy.
        """
        if self.zero_stage not in (0, 1, 2, 3):
            raise InputError(f"--zero-stage {self.zero_stage}: give 0, 1, 2 or 3")
        if self.zero_stage == 0 and self.dtype == "bf16":
            raise InputError("--zero-stage 0 keeps no float32 weights beside bf16: give --zero-stage 1 or --dtype fp32")


@dataclass(frozen=True)
class UpdateReport:
    """What one optimizer step did.

    Args:
        loss: summed over micro-batches and ranks.
        grad_norm: of the whole gradient, before it is scaled down; NaN or infinite where the step was refused.
        learning_rate: of this step.
        refused: the loss or a gradient was not finite, and nothing was changed.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    refused: bool


class DivergedError(RuntimeError):
    """Several steps in a row had a loss or gradient that is not finite; a checkpoint holds what was before them."""


class TrainingEngine:
    """A model, its optimizer and its place among the ranks.

    Args:
        module: called as `module(micro_batch)` by the loss; parameters with `requires_grad` are trained.
        settings: see `EngineSettings`.
        place: of this process, from `launch.join`.
        weights: the part of `module` that is a Hugging Face model, whose names `gathered_parameters` uses; `module`
            itself when None.
        checkpoints: where checkpoints go and come from; None: there are none.

    Every rank must hold the same weights when it makes its engine, and call each method when the others do.
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
        self.rank, self.world_size, self.device = place
        self.weights = module if weights is None else weights
        self._checkpoints = checkpoints
        self._stop = StopSignal()
        self.step = 0  # optimizer steps done, refused ones included
        self.refused_steps = 0
        self._refused_in_a_row = 0
        self._saved_step = 0  # that the newest checkpoint is of; before the first step there is nothing to save
        on_gpu = self.device.type == "cuda"
        if settings.gradient_checkpointing:
            enable: Any = self.weights.gradient_checkpointing_enable
            enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        module.train().to(self.device)
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in module.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        config = zero.configuration(settings.zero_stage, settings.dtype == "bf16", settings.max_grad_norm, on_gpu)
        self._deepspeed = zero.initialize(module, self._optimizer, config, on_gpu)

    @property
    def module(self) -> nn.Module:
        """What a loss calls, outside of `update` too (then without gradients): DeepSpeed's engine around the module."""
        return self._deepspeed  # type: ignore[no-any-return]

    def update(
        self,
        micro_batches: Sequence[MicroBatch],
        loss: Callable[[nn.Module, MicroBatch], Tensor],
        filler: MicroBatch | None = None,
    ) -> UpdateReport:
        """One optimizer step over this rank's micro-batches and those of all other ranks.

        Args:
            micro_batches: this rank's; ranks may have different numbers of them.
            loss: calls its first argument once with a micro-batch and returns a scalar, a part of the sum that the
                whole optimizer batch's loss is.
            filler: stands in, with weight 0, where this rank has fewer micro-batches than another (sharded ranks
                must work in step); its last micro-batch when None.

        Raises:
            ValueError: neither a micro-batch nor a filler.
        """
        if filler is None and not micro_batches:
            raise ValueError(f"rank {self.rank} has no micro-batch: give a filler")
        filler = micro_batches[-1] if filler is None else filler
        rounds = int(self._agree(max(len(micro_batches), 1), dist.ReduceOp.MAX))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for turn in range(rounds):
            mine = turn < len(micro_batches)
            self._deepspeed.set_gradient_accumulation_boundary(turn == rounds - 1)
            value = loss(self._deepspeed, micro_batches[turn] if mine else filler)
            if mine:
                total += value.detach()
            # DeepSpeed divides by the ranks. A loss that is not finite must not leave gradients that are.
            weight = self.world_size if mine else 0.0
            self._deepspeed.backward(value * torch.where(value.detach().isfinite(), weight, math.nan))
        rate = self._current_learning_rate()
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = rate
        norm = self._apply()
        dist.all_reduce(total)
        self.step += 1
        report = UpdateReport(total.item(), norm, rate, refused=not math.isfinite(norm))
        self._count_refusals(report)
        return report

    def gathered_parameters(self, bucket_bytes: int = 1 << 30) -> Iterator[tuple[str, Tensor]]:
        """Every weight's Hugging Face name and full value, as forward passes read it; gathered a bucket at a time.

        A value is good until the next one is asked for. Tied weights come once, LoRA adapters within their layer's.
        """
        if self.settings.zero_stage < 3:
            for weight in weights_of(self.weights):
                yield weight.name, weight.value()
            return
        from deepspeed.runtime.zero import GatheredParameters

        for bucket in _buckets(weights_of(self.weights), bucket_bytes):
            with GatheredParameters([parameter for weight in bucket for parameter in weight.parameters]):
                for weight in bucket:
                    yield weight.name, weight.value()

    @torch.no_grad()
    def resume(self) -> dict[str, Any] | None:
        """Go on from the newest whole checkpoint: weights, moments, step, random numbers of every kind.

        Returns:
            What `checkpoint` was given as `state`; None where there is no checkpoint, and nothing was changed.

        Raises:
            InputError: when the checkpoint is of another model.
        """
        saved = self._checkpoints.newest() if self._checkpoints else None
        if saved is None:
            return None
        pieces = list(zero.pieces(self._deepspeed))
        for piece in pieces:
            for key, view in piece.tensors.items():
                entry = saved.tensors.get(f"{key}:{piece.name}")
                if entry is None or entry.shape != piece.shape:
                    raise InputError(
                        f"{saved.directory}: {piece.name} is {entry and list(entry.shape)} there and"
                        f" {list(piece.shape)} in this model: remove the checkpoints of the other model"
                    )
                view.copy_(saved.read(f"{key}:{piece.name}", piece.start, piece.start + len(view)))
        for counter in zero.optimizer_steps(self._deepspeed):
            counter.fill_(saved.index["optimizer_steps"])
        zero.publish_weights(self._deepspeed)
        self.step = self._saved_step = saved.index["step"]
        self.refused_steps, self._refused_in_a_row = saved.index["refused"]
        randomness.restore(saved.rank_state(self.rank)["random"])
        saved.close()
        log.info("resumed from the checkpoint of step %d", self.step)
        state: dict[str, Any] = saved.index["state"]
        return state

    def checkpoint(self, state: Mapping[str, Any], due: bool) -> None:
        """Write a checkpoint, in the background, when it is due; or at once, when the run must end here.

        Call it after each step, and wherever else everything is such that `resume` could go on from here.

        Args:
            state: what else the run needs to go on, as JSON: its place in the data, counters.
            due: the caller's schedule says so.

        Raises:
            DivergedError: several steps in a row were refused; the checkpoint, of what was before them, is written.
            Preempted: a rank got SIGTERM; the checkpoint is written.
        """
        stop = bool(self._agree(float(self._stop.received), dist.ReduceOp.MAX))
        diverged = self._refused_in_a_row >= REFUSALS_IN_A_ROW
        if self._checkpoints is not None:
            if (due or stop or diverged) and self.step > self._saved_step:
                self._save(self._checkpoints, state)
            if stop or diverged:
                self._checkpoints.close()
        if diverged:
            raise DivergedError(
                f"steps {self.step - self._refused_in_a_row + 1} to {self.step}: loss or gradient is not finite: lower"
                " the learning rate or look at the data; the weights are those from before these steps"
            )
        if stop:
            raise Preempted(
                f"stopped by SIGTERM after step {self.step}; the checkpoint is written, start again to go on"
            )

    def _save(self, checkpoints: Checkpoints, state: Mapping[str, Any]) -> None:
        """Start writing a checkpoint of this moment."""
        checkpoints.wait()  # before the copy below: one copy in memory, not two
        runs = []
        for piece in zero.pieces(self._deepspeed):
            part = slice(None)
            if self.settings.zero_stage == 0:  # every rank holds all: they share the writing
                part = share(torch.Size(piece.shape).numel(), self.rank, self.world_size)
            for key, view in piece.tensors.items():
                values = view[part].to("cpu", copy=True)
                runs.append(Run(f"{key}:{piece.name}", piece.shape, piece.start + (part.start or 0), values))
        checkpoints.save(
            self.step,
            [run for run in runs if len(run.values)],
            {"random": randomness.capture()},
            {
                "state": copy.deepcopy(dict(state)),  # written later, when the caller has gone on
                "optimizer_steps": float(zero.optimizer_steps(self._deepspeed)[0]),
                "refused": [self.refused_steps, self._refused_in_a_row],
            },
        )
        self._saved_step = self.step

    def finish(self) -> None:
        """Wait until the last checkpoint is written."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def save_sharded(self, directory: Path) -> None:
        """Write the weights that forward passes read, each rank its share; `consolidate` makes one model of them.

        The directory appears when all of it is there, in place of what was there before.
        """
        runs = []
        for name, value in self.gathered_parameters():
            part = share(value.numel(), self.rank, self.world_size)
            values = value.reshape(-1)[part].to("cpu", copy=True)
            if len(values):
                runs.append(Run(name, tuple(value.shape), part.start, values))
        beside = partial(directory)
        if self.rank == 0:  # what a killed run left, perhaps of more ranks
            shutil.rmtree(beside, ignore_errors=True)
        dist.barrier()
        write_shard(beside, self.rank, self.world_size, runs)
        dist.barrier()
        if self.rank == 0:
            write_index(beside, self.world_size)
            shutil.rmtree(directory, ignore_errors=True)
            beside.rename(directory)
        dist.barrier()

    def _current_learning_rate(self) -> float:
        chosen = self.settings
        return learning_rate(chosen.schedule, chosen.learning_rate, self.step, chosen.total_steps, chosen.warmup_ratio)

    def _apply(self) -> float:
        """Step the optimizer, or drop a gradient that is not finite; returns the gradient's norm."""
        if self.settings.zero_stage == 0:
            gradients = [p.grad for p in self._deepspeed.module.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if not norm.isfinite():
                self._deepspeed.zero_grad()
                return float(norm)
            if self.settings.max_grad_norm:
                for gradient in gradients:  # as DeepSpeed scales
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
        log.warning("step %d refused: loss %s, gradient norm %s", self.step, report.loss, report.grad_norm)

    def _agree(self, value: float, operation: Any) -> float:
        """Reduce a number over the ranks."""
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation)
        return tensor.item()


def _buckets(weights: Iterable[Weight], limit: int) -> Iterator[list[Weight]]:
    """Runs of ZeRO-3 weights of at most `limit` bytes together, or of one greater one."""
    bucket: list[Weight] = []
    size = 0
    for weight in weights:
        need = sum(parameter.ds_numel * parameter.element_size() for parameter in weight.parameters)  # type: ignore[attr-defined]
        if bucket and size + need > limit:
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += need
    if bucket:
        yield bucket
