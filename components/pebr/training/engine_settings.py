"""The settings of the training engine, and DeepSpeed's configuration that follows from them."""

from dataclasses import dataclass
from typing import Literal, Self

import torch

from pebr.training import zero
from pebr.training.schedule import Schedule
from pebr.training.settings import TrainingSettings, check_precision


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the engine."""

    learning_rate: float  # peak learning rate of AdamW
    total_steps: int  # optimizer updates of the whole run, for the schedule
    weight_decay: float = 0.0  # decoupled weight decay of AdamW
    schedule: Schedule = "constant"  # learning-rate schedule after the warm-up
    warmup_ratio: float = 0.0  # share of the updates in which the learning rate rises
    max_grad_norm: float = 1.0  # gradients with a larger norm are scaled down to it; 0 for never
    # Of the forward and backward pass. The optimizer's weights and moments are float32.
    dtype: Literal["bf16", "fp32"] = "fp32"
    zero_stage: int = 0  # 0 to 3
    gradient_checkpointing: str = "off"  # layers that recompute activations: auto, on, off, every=k
    offload: Literal["none", "optimizer"] = "none"  # what lies in the host's memory
    row_tokens: int = 0  # of the longest packed row, for `auto`

    def __post_init__(self) -> None:
        check_precision(self.zero_stage, self.dtype)

    def deepspeed(self, device: torch.device, weights_on_host: bool = False) -> zero.Configuration:
        """DeepSpeed's configuration on a device."""
        return zero.configuration(
            self.zero_stage,
            self.dtype == "bf16",
            self.max_grad_norm,
            device.type == "cuda",
            self.offload == "optimizer",
            weights_on_host,
        )

    @classmethod
    def of(
        cls,
        settings: TrainingSettings,
        total_steps: int,
        longest: int,
        schedule: Schedule = "constant",
        warmup_ratio: float = 0.0,
    ) -> Self:
        """The engine's part of a step's settings; `longest` is the number of tokens of its longest sequence."""
        names = ("learning_rate", "weight_decay", "max_grad_norm", "dtype", "zero_stage", "gradient_checkpointing")
        taken = {name: getattr(settings, name) for name in (*names, "offload")}
        taken["row_tokens"] = max(settings.tokens_per_batch, longest)
        return cls(total_steps=total_steps, schedule=schedule, warmup_ratio=warmup_ratio, **taken)
