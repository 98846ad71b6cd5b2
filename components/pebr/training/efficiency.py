"""How well a training step uses its GPUs: tokens, MFU and memory, as metrics."""

import os
from contextlib import suppress

import torch
import torch.distributed as dist
from torch import nn

from pebr.step.launch import Place
from pebr.telemetry import metrics

# Dense bf16 FLOP/s, from NVIDIA's data sheets, by a part of the GPU's name. PEBR_PEAK_FLOPS overrules it.
PEAKS = {"B200": 2.25e15, "H200": 989e12, "H100": 989e12, "H20": 148e12, "A100": 312e12, "L40S": 362e12}


def publish_efficiency(module: nn.Module, tokens: int, seconds: float, place: Place) -> None:
    """Record what a training step has used. All ranks call this.

    MFU is 6 x weights x tokens / (seconds x peak of all ranks), as in PaLM (arXiv 2204.02311, appendix B) without
    attention. The reference pass, recomputation and the vision tower's patches are not counted, so it is a lower bound.

    Args:
        module: the model, with its whole weights or ZeRO's shards of them.
        tokens: that were trained on, of all ranks, prompts included.
        seconds: of training.
        place: of this process.
    """
    if place.device.type == "cuda":
        peak = torch.tensor(torch.cuda.max_memory_allocated(place.device), dtype=torch.float64)
        dist.all_reduce(peak, op=dist.ReduceOp.MAX)
        metrics.record("pebr_gpu_memory_peak_bytes", float(peak))
    metrics.record("pebr_training_tokens_total", tokens)
    if (best := peak_flops(place.device)) and seconds > 0:
        weights = sum(getattr(weight, "ds_numel", weight.numel()) for weight in module.parameters())
        metrics.record("pebr_model_flops_ratio", 6.0 * weights * tokens / (seconds * best * place.world_size))


def peak_flops(device: torch.device) -> float:
    """The FLOP/s that a device can do at most; 0 if unknown."""
    with suppress(ValueError):
        return float(os.environ.get("PEBR_PEAK_FLOPS", ""))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), 0.0)
