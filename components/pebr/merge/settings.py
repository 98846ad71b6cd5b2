"""The settings of the merge step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.step.settings import Bounds, Input, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Make one Hugging Face model from the sharded weights of a GRPO stage, one tensor at a time."""

    checkpoint: Annotated[str, Input("Model"), "Sharded weights, the directory that `grpo` wrote."]
    model: Annotated[
        str, Input("Model"), "Model that the stage started from; gives configuration, tokenizer and processor."
    ]
    output: Annotated[str, Output("Model"), "Hugging Face directory to write."]
    weights: Annotated[
        Literal["last", "best"],
        "Weights of the last training step, or of that with the best validation, which needs `validate_every`.",
    ] = "last"
    dtype: Annotated[
        Literal["keep", "float32", "bfloat16", "float16"],
        "Number format of the merged model; keep for the shards' own.",
    ] = "keep"
    max_shard_bytes: Annotated[
        int,
        Bounds(1, 2**63 - 1),
        "Largest size of one safetensors file in bytes; a single larger tensor gets its own file.",
    ] = 4_000_000_000
