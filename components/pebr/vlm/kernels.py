"""Faster kernels for a model on a GPU: fused ones from liger-kernel, and matrix products of a width that suits it.

Without a GPU nothing changes. liger-kernel is optional (`pip install "pebr[gpu]"`).
"""

import importlib.util
import logging
import sys
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebr.vlm.families.contract import Model

log = logging.getLogger(__name__)

MULTIPLE = 8  # matrix products in 16-bit formats need widths of a multiple of 8 to use their fast kernels


def use_fast_kernels(model: Model, vision: str) -> None:
    """Prepare a model on a machine with a GPU; `vision` is the submodule of its vision tower."""
    if not torch.cuda.is_available():
        return
    pad_widths(model.get_submodule(vision))
    if importlib.util.find_spec("liger_kernel") is None:
        log.info("no fused kernels: pip install liger-kernel makes training on a GPU faster")
        return
    from liger_kernel.transformers import monkey_patch

    # The losses stay ours: they never make the logits of a whole row.
    gated = model.config.model_type == "qwen2_5_vl"  # for Qwen3-VL there is no such replacement
    fuse: Any = getattr(monkey_patch, f"apply_liger_kernel_to_{model.config.model_type}")
    fuse(model=model, rope=False, swiglu=gated, rms_norm=True, cross_entropy=False, fused_linear_cross_entropy=False)
    fuse_rotary(model)


def fuse_rotary(model: Model) -> None:
    """Rotate queries and keys in one fused kernel each for text and vision; for all models of this family.

    liger-kernel 0.8.5 does so for Qwen3-VL only: for Qwen2.5-VL it replaces a function that transformers 5.17 no longer
    has. Sine and cosine of both families are already composed of the positions in time, height and width.
    """
    from liger_kernel.transformers.rope import liger_rotary_pos_emb, liger_rotary_pos_emb_vision

    code: Any = sys.modules[type(model).__module__]
    code.apply_rotary_pos_emb = liger_rotary_pos_emb
    code.apply_rotary_pos_emb_vision = liger_rotary_pos_emb_vision


def pad_widths(tower: nn.Module) -> None:
    """Let gated MLPs whose width is no multiple of 8 compute with further columns of zeros. The weights stay.

    The zeros are exact: silu(0) * 0 = 0, and they meet zeros in the last product.
    """
    for module in tower.modules():
        gate, up, down = (getattr(module, f"{name}_proj", None) for name in ("gate", "up", "down"))
        if not (isinstance(gate, nn.Linear) and isinstance(up, nn.Linear) and isinstance(down, nn.Linear)):
            continue
        if extra := -gate.out_features % MULTIPLE:
            # Each linear layer pads its own weights, so that ZeRO-3 gathers them as ever.
            for linear in (gate, up):
                linear.forward = partial(_wider_output, linear, extra)  # type: ignore[method-assign]
            down.forward = partial(_wider_input, down, extra)  # type: ignore[method-assign]


def _wider_output(linear: nn.Linear, extra: int, inputs: Tensor) -> Tensor:
    """(..., in) -> (..., out + extra)."""
    bias = None if linear.bias is None else F.pad(linear.bias, (0, extra))
    return F.linear(inputs, F.pad(linear.weight, (0, 0, 0, extra)), bias)


def _wider_input(linear: nn.Linear, extra: int, inputs: Tensor) -> Tensor:
    """(..., in + extra) -> (..., out)."""
    return F.linear(inputs, F.pad(linear.weight, (0, extra)), linear.bias)
