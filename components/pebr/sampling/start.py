"""Start a sampling engine; only the selected engine is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pebr.sampling.contract import Sampler
from pebr.sampling.settings import SamplerSettings
from pebr.sampling.vllm_args import parse
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import DTYPES


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
    lora_rank: int = 0,
    vllm_args: Mapping[str, object] | None = None,
) -> Sampler:
    """Start an engine.

    Args:
        engine: its name.
        model_path: Hugging Face directory of the model.
        encoder: of the same model; its processor's pixel limits are the engine's.
        dtype: of the weights.
        model: transformers only: sample from this module instead of loading one; then `sync` is not needed.
        max_tokens: vLLM only: maximum of prompt and answer tokens together; limited by the model's positions.
        memory_share: vLLM only: maximum share of the accelerator's memory.
        tensor_parallel: vLLM only: number of accelerators that share the model.
        sleeps: vLLM only: `sleep` frees the accelerator's memory and `wake` takes it again.
        lora_rank: vLLM only: rank of the adapters that `sync_adapters` will bring; 0 for none.
        vllm_args: vLLM only: further arguments of its engine.

    Raises:
        InputError: when the model or the engine is missing, or the model does not fit into the memory.
    """
    if engine == "transformers":
        from pebr.sampling.transformers_engine import TransformersSampler

        return TransformersSampler(model_path, encoder, dtype, model)
    from pebr.sampling.vllm_engine import VllmSampler

    return VllmSampler(
        model_path, encoder, dtype, max_tokens, memory_share, tensor_parallel, sleeps, lora_rank, vllm_args or {}
    )


def start_for(
    settings: SamplerSettings,
    model_path: str,
    encoder: Encoder,
    model: nn.Module | None = None,
    sleeps: bool = False,
    lora_rank: int = 0,
    further_tokens: int = 0,
) -> Sampler:
    """Start the engine of a step's settings; see `start_sampler`.

    `further_tokens` is the number of tokens by which a prompt and its answer may together exceed the settings' limits.
    """
    return start_sampler(
        settings.sampling,
        model_path,
        encoder,
        DTYPES[settings.dtype],
        model,
        settings.max_prompt_tokens + settings.max_response_tokens + further_tokens,
        settings.memory_share,
        settings.tensor_parallel,
        sleeps,
        lora_rank,
        parse(settings.vllm_args),
    )
