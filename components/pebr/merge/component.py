"""The Kubeflow interface of merge."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def merge(
    checkpoint: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    output: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    dtype: str = "keep",
    max_shard_bytes: int = 4_000_000_000,
) -> dsl.ContainerSpec:
    """One Hugging Face model from the sharded weights of a training step, a tensor at a time.

    Args:
        checkpoint: sharded weights, the directory that `grpo` wrote.
        model: the Hugging Face directory that training began with; gives configuration, tokenizer and processor.
        output: Hugging Face directory to write.
        metrics: JSON file to write the step's scalar results to.
        dtype: number format of the written weights; keep: the format that the shards hold.
        max_shard_bytes: largest size of one written safetensors file; a single larger tensor gets its own file.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.merge"],
        args=[
            "--checkpoint",
            checkpoint.path,
            "--model",
            model.path,
            "--output",
            output.path,
            "--metrics",
            metrics.path,
            "--dtype",
            dtype,
            "--max-shard-bytes",
            max_shard_bytes,
            "--executor-input",
            "{{$}}",
        ],
    )
