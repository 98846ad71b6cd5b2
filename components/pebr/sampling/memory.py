"""Memory plan of a vLLM engine, computed and logged before it starts; a model that cannot fit is refused at once."""

import gc
import logging
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

from pebr.errors import InputError
from pebr.vlm.families.contract import Config

log = logging.getLogger(__name__)

GIB = 2**30
BATCHED_TOKENS = 8192  # per forward pass, about the same as in vLLM
CPU_CACHE_BYTES = GIB  # key-value cache on the CPU, whose memory other processes use too


@dataclass(frozen=True)
class Budget:
    """Bytes of one accelerator (or of the CPU's memory)."""

    weights: int
    activations: int  # an estimate: widest layer of a forward pass, logits of a sampling step
    cache_per_answer: int  # key-value cache of the longest prompt with answer
    allowed: int  # maximum of the engine

    @property
    def cache(self) -> int:
        """Bytes left for the key-value cache."""
        return self.allowed - self.weights - self.activations

    @property
    def answers(self) -> int:
        """The number of answers of maximum length that fit into the cache."""
        return self.cache // self.cache_per_answer


def budget(
    model_path: Path | str, config: Config, dtype: torch.dtype, max_tokens: int, share: float, parallel: int
) -> Budget:
    """Plan the memory of an engine on this machine and log the plan.

    Args:
        max_tokens: maximum of prompt and answer tokens together.
        share: of the memory that the engine may use.
        parallel: number of accelerators that share the model.

    Raises:
        InputError: when not one answer fits, or less memory is free than the engine may use.
    """
    total, free, device = free_memory()
    weights = weight_count(model_path) * dtype.itemsize // parallel
    text = config.get_text_config()
    size = dtype.itemsize
    cache_per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * _head_width(text) * size
    activations = BATCHED_TOKENS * (2 * text.intermediate_size + 4 * text.hidden_size) * size
    activations += 3 * 4 * 256 * text.vocab_size  # float32 logits, probabilities and noise of 256 answers
    plan = Budget(
        weights=weights,
        activations=activations if device != "CPU" else 0,
        cache_per_answer=cache_per_token * max_tokens // parallel,
        allowed=int(share * total) if device != "CPU" else min(int(share * free), weights + CPU_CACHE_BYTES),
    )
    log.info(
        "sampler: %s has %.1f GiB, %.1f free; %.1f allowed: weights %.2f, activations about %.2f, key-value cache %.2f,"
        " which holds %d answers of %d tokens with their prompts",
        device, total / GIB, free / GIB, plan.allowed / GIB, plan.weights / GIB, plan.activations / GIB,
        max(plan.cache, 0) / GIB, max(plan.answers, 0), max_tokens,
    )  # fmt: skip
    if plan.answers < 1:
        raise InputError(
            f"{model_path}: weights {plan.weights / GIB:.1f} GiB and one answer of {max_tokens} tokens"
            f" {plan.cache_per_answer / GIB:.2f} GiB do not fit into {plan.allowed / GIB:.1f} GiB of {device}:"
            " raise --memory-share or --tensor-parallel, or lower --max-response-tokens"
        )
    if plan.allowed > free:
        raise InputError(
            f"the sampler may use {plan.allowed / GIB:.1f} GiB of {device}, but {free / GIB:.1f} are free:"
            " lower --memory-share, or stop other processes on it"
        )
    return plan


def weight_count(model_path: Path | str) -> int:
    """The number of weights in a directory's safetensors files, from their headers alone."""
    count = 0
    for path in sorted(Path(model_path).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            count += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    return count


def _head_width(text: Config) -> int:
    """Values per attention head: `head_dim` if the configuration has it, else the hidden size divided by the heads."""
    return int(text.to_dict().get("head_dim") or text.hidden_size // text.num_attention_heads)


def free_memory() -> tuple[int, int, str]:
    """Total and free bytes of the device that models run on, and the device's name."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()  # memory that PyTorch only keeps in reserve counts as free
        free, total = torch.cuda.mem_get_info()
        return total, free, torch.cuda.get_device_name()
    return _host("MemTotal"), host_memory(), "CPU"


def host_memory() -> int:
    """Free bytes of this machine's memory."""
    return _host("MemAvailable")


def _host(field: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines[field].split(maxsplit=1)[0]) * 1024
