"""The Kubeflow interface of SFT."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def sft(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    checkpoints: str = "",
    epochs: int = 2,
    batch_size: int = 128,
    learning_rate: float = 1e-05,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    max_tokens: int = 4096,
    tokens_per_batch: int = 8192,
    min_pixels: int = 576,
    max_pixels: int = 802816,
    max_steps: int = 0,
    dtype: str = "bf16",
    zero_stage: int = 3,
    processes: int = 0,
    gradient_checkpointing: bool = True,
    lora_rank: int = 0,
    save_every: int = 200,
    keep_checkpoints: int = 2,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Supervised warm-up of the language model; the vision tower and the projector stay as they are.

    Args:
        model: base model, a Hugging Face directory.
        dataset: filtered SFT rows, the directory that `filter --kind sft` wrote.
        output: Hugging Face directory to write.
        history: JSON-lines file to write, one row per optimizer step.
        metrics: JSON file to write the step's scalar results to.
        checkpoints: folder or s3:// prefix for training checkpoints; empty: `<output>.checkpoints` beside the output.
        epochs: passes over the dataset.
        batch_size: rows of one optimizer step, over all ranks.
        learning_rate: peak of the cosine schedule.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0 to its peak.
        weight_decay: AdamW's decoupled weight decay.
        max_grad_norm: gradient norm above which gradients are scaled down; 0 turns clipping off.
        max_tokens: rows with more tokens, image tokens included, are set aside and counted.
        tokens_per_batch: token budget of one packed micro-batch; memory grows with it, results do not change.
        min_pixels: smaller images are enlarged to this many pixels.
        max_pixels: larger images are reduced to this many pixels.
        max_steps: stop after this many optimizer steps; 0 means all epochs.
        dtype: number format of the forward and backward pass; the optimizer keeps float32 weights.
        zero_stage: how much DeepSpeed shards over ranks: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights.
        processes: training processes on this machine; 0 means one per GPU, or one without GPUs.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        lora_rank: rank of LoRA adapters on the language model's linear layers; 0 trains the full weights.
        save_every: optimizer steps between checkpoints; 0 means only at the end and when told to stop.
        keep_checkpoints: how many of the newest checkpoints to keep.
        seed: seed of the row order and of every random number generator.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.sft"],
        args=[
            "--model",
            model.path,
            "--dataset",
            dataset.path,
            "--output",
            output.path,
            "--history",
            history.path,
            "--metrics",
            metrics.path,
            "--checkpoints",
            checkpoints,
            "--epochs",
            epochs,
            "--batch-size",
            batch_size,
            "--learning-rate",
            learning_rate,
            "--warmup-ratio",
            warmup_ratio,
            "--weight-decay",
            weight_decay,
            "--max-grad-norm",
            max_grad_norm,
            "--max-tokens",
            max_tokens,
            "--tokens-per-batch",
            tokens_per_batch,
            "--min-pixels",
            min_pixels,
            "--max-pixels",
            max_pixels,
            "--max-steps",
            max_steps,
            "--dtype",
            dtype,
            "--zero-stage",
            zero_stage,
            "--processes",
            processes,
            "--gradient-checkpointing",
            gradient_checkpointing,
            "--lora-rank",
            lora_rank,
            "--save-every",
            save_every,
            "--keep-checkpoints",
            keep_checkpoints,
            "--seed",
            seed,
            "--executor-input",
            "{{$}}",
        ],
    )
