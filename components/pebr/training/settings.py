"""Settings that every step that trains has."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.errors import InputError
from pebr.step.settings import ANY_VALUE_RESUMES, PROCESSES, Bounds, ResumableSettings, StepSettings
from pebr.vlm.settings import ModelSettings

RECOMPUTATION = re.compile(r"auto|on|off|every=([1-9]\d*)")  # forms of `gradient_checkpointing`


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(ModelSettings, ResumableSettings):
    """The optimizer, and how the model is spread over processes."""

    learning_rate: Annotated[float, Bounds(0, 1, above=True), "Learning rate of AdamW."] = 1e-6
    weight_decay: Annotated[float, Bounds(0, 10), "Decoupled weight decay of AdamW."] = 1e-2
    max_grad_norm: Annotated[
        float, Bounds(0, 1e6), "Gradients with a larger norm are scaled down to it; 0 turns clipping off."
    ] = 1.0
    tokens_per_batch: Annotated[
        int,
        Bounds(1),
        ANY_VALUE_RESUMES,
        "Token budget of one packed micro-batch. Sets memory and speed, not results.",
    ] = 16384
    zero_stage: Annotated[
        int,
        Bounds(0, 3),
        ANY_VALUE_RESUMES,
        "DeepSpeed ZeRO stage: 0 shards nothing over ranks, 1 the optimizer, 2 also gradients, 3 also weights.",
    ] = 3
    processes: Annotated[
        int, PROCESSES, ANY_VALUE_RESUMES, "Processes of the step; 0 for one per GPU, or one without GPUs."
    ] = 0
    gradient_checkpointing: Annotated[
        str,
        ANY_VALUE_RESUMES,
        "Layers that recompute their activations in the backward pass, for less memory and up to a third more"
        " arithmetic: off, on (all), every=k (each k-th), auto (as few as the free memory needs; on a CPU all).",
    ] = "auto"
    offload: Annotated[
        Literal["none", "optimizer"],
        ANY_VALUE_RESUMES,
        "What lies in the host's memory instead of the GPU's: optimizer, with --zero-stage 3, for float32 weights,"
        " moments and gradients. Its step then runs on the CPU and takes seconds per billion weights.",
    ] = "none"
    lora_rank: Annotated[
        int, Bounds(0, 4096), "Rank of LoRA adapters on the language model; 0 trains the full weights."
    ] = 0
    save_every: Annotated[
        int, Bounds(0), ANY_VALUE_RESUMES, "Training steps between checkpoints; 0 for only at the end and on SIGTERM."
    ] = 10
    save_minutes: Annotated[
        float,
        Bounds(0),
        ANY_VALUE_RESUMES,
        "Minutes after which a checkpoint is also written; 0 for never. Where a step is ended without notice, as on"
        " Kubeflow, at most that much is lost.",
    ] = 0.0
    resume_from: Annotated[
        str,
        "Checkpoints of another run, or one of them, to continue from if this run has none yet: with other settings or"
        " other code, knowingly. The history records it.",
    ] = ""
    keep_checkpoints: Annotated[int, Bounds(1), ANY_VALUE_RESUMES, "Number of newest checkpoints to keep."] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_precision(self.zero_stage, self.dtype)
        old_form = {"true": "on", "false": "off"}.get(str(self.gradient_checkpointing).lower())
        object.__setattr__(self, "gradient_checkpointing", old_form or str(self.gradient_checkpointing))
        if not RECOMPUTATION.fullmatch(self.gradient_checkpointing):
            raise InputError(
                f"--gradient-checkpointing {self.gradient_checkpointing}: give auto, on, off, or every=2 and the like"
            )
        if self.offload != "none" and self.zero_stage != 3:
            raise InputError(f"--offload {self.offload}: it needs --zero-stage 3, not {self.zero_stage}")


@dataclass(frozen=True, kw_only=True)
class ValidationSettings(StepSettings):
    """Validation during training on questions that are held out, and when training ends early."""

    validate_every: Annotated[
        int,
        Bounds(0),
        "Training steps between validations, and one after the last step; 0 for no validation, and nothing held out.",
    ] = 0
    validation_questions: Annotated[
        int,
        Bounds(1),
        "Questions (rows, in SFT) of the dataset that are held out: validated on, never trained on. Chosen by a digest"
        " of their id, at most half of all.",
    ] = 128
    stop_at: Annotated[
        float,
        Bounds(0),
        ANY_VALUE_RESUMES,
        "Stop when a validation reaches this score (in SFT, when the loss has fallen to it); 0 for never.",
    ] = 0.0
    stop_patience: Annotated[
        int, Bounds(0), ANY_VALUE_RESUMES, "Stop after so many validations in a row without a new best; 0 for never."
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, value in (("--stop-at", self.stop_at), ("--stop-patience", self.stop_patience)):
            if value and not self.validate_every:
                raise InputError(f"{flag} {value:g}: there is nothing to compare with, give --validate-every")


def check_precision(zero_stage: int, dtype: str) -> None:
    """Check for what DeepSpeed cannot do.

    Raises:
        InputError: naming the setting and how to fix it.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise InputError(f"--zero-stage {zero_stage}: give 0, 1, 2 or 3")
    if zero_stage == 0 and dtype == "bf16":
        raise InputError("--zero-stage 0 keeps no float32 weights beside bf16: give --zero-stage 1 or --dtype fp32")
