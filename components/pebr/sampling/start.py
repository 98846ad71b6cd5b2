"""Start one of the two engines; only the one that is asked for is imported."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pebr.sampling.contract import Sampler
from pebr.vlm.encoding import Encoder


def start_sampler(
    engine: Literal["vllm", "transformers"],
    model_path: Path | str,
    encoder: Encoder,
    dtype: torch.dtype = torch.float32,
    model: nn.Module | None = None,
    max_tokens: int = 1024,
    memory_share: float = 0.9,
    tensor_parallel: int = 1,
    sleeps: bool = False,
) -> Sampler:
    """Start an engine.

    Args:
        engine: which one.
        model_path: Hugging Face directory of the model.
        encoder: of the same model; its processor's pixel limits are the engine's.
        dtype: of the engine's weights.
        model: transformers only: sample from this live module instead of loading one; `sync` then has nothing to do.
        max_tokens: vLLM only: longest prompt and answer together, at most the model's positions.
        memory_share: vLLM only: share of the accelerator's memory that it may take.
        tensor_parallel: vLLM only: accelerators that the model is spread over.
        sleeps: vLLM only: make `sleep` and `wake` free and take the accelerator's memory.

    Raises:
        InputError: when the model or the engine is not there, or the memory cannot hold it.
    """
    if engine == "transformers":
        from pebr.sampling.transformers_engine import TransformersSampler

        return TransformersSampler(model_path, encoder, dtype, model)
    from pebr.sampling.vllm_engine import VllmSampler

    return VllmSampler(model_path, encoder, dtype, max_tokens, memory_share, tensor_parallel, sleeps)
