"""The settings of merge: what the command line, the component and a recipe may choose."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """One Hugging Face model from the sharded weights of a training step, a tensor at a time.

    Args:
        checkpoint: sharded weights, the directory that `grpo` wrote.
        model: the Hugging Face directory that training began with; gives configuration, tokenizer and processor.
        output: Hugging Face directory to write.
        dtype: number format of the written weights; keep: the format that the shards hold.
        max_shard_bytes: largest size of one written safetensors file; a single larger tensor gets its own file.
        metrics: JSON file to write the step's scalar results to.
        executor_input: Kubeflow's executor input, `{{$}}`; empty outside Kubeflow.
    """

    checkpoint: str
    model: str
    output: str
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = "keep"
    max_shard_bytes: int = 4_000_000_000
    metrics: str = ""
    executor_input: str = ""
