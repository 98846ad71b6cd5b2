"""DeepSpeed's ZeRO, as the engine needs it: its configuration, and where each parameter's float32 state lies.

ZeRO (arXiv 1910.02054) keeps the optimizer's float32 weights and moments in flat buffers, of which each rank owns a
part. A `Piece` says which run of which parameter's elements a rank owns and gives views into the live buffers; saving
reads these views and loading writes them, so a checkpoint knows parameters and elements, not ranks or stages.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Piece:
    """A run of one parameter's elements, in float32, that a rank's optimizer updates.

    Args:
        name: the parameter's.
        shape: the whole parameter's.
        start: index of the run's first element in the flattened parameter.
        tensors: `weight`, `exp_avg`, `exp_avg_sq`: views into live memory, each of shape (length,).
    """

    name: str
    shape: tuple[int, ...]
    start: int
    tensors: dict[str, Tensor]


def configuration(stage: int, bf16: bool, max_grad_norm: float, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's configuration for one stage.

    Each rank accumulates gradients in float32 whatever the model's format; between ranks they travel in the model's.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,  # only their product with the ranks is looked at; rows are ours to pack
        "gradient_accumulation_steps": 1,  # the boundary is set by hand: any number of micro-batches
        "gradient_clipping": max_grad_norm if stage else 0.0,  # without ZeRO the engine clips
        "zero_allow_untested_optimizer": True,  # torch's AdamW
        "zero_optimization": {"stage": stage, "overlap_comm": on_gpu, "contiguous_gradients": True},
        "bf16": {"enabled": bf16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 2**62,
    }


def initialize(model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], on_gpu: bool) -> Any:
    """DeepSpeed's engine around a model on its device, with the optimizer's state laid out and all zeros."""
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it even of a single process
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not on_gpu:
        # Compiled with g++ on first use, a minute and a writable home; gloo does the same work.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    for name, buffer in model.named_buffers():  # DeepSpeed rounds buffers to bf16: rotary frequencies must not be
        buffer.data = buffers[name].to(buffer.device)
    _lay_out_moments(engine, optimizer)
    return engine


def pieces(engine: Any) -> Iterator[Piece]:
    """What this rank's optimizer updates, in the order of the module's parameters; without ZeRO, everything."""
    from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_optimizer_state

    stage = engine.zero_optimization_stage()
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if stage == 0:
            state = engine.optimizer.state[parameter]
            views = {"weight": parameter.data, **{key: state[key] for key in MOMENTS}}
            yield Piece(name, tuple(parameter.shape), 0, {key: view.view(-1) for key, view in views.items()})
        elif stage == 3:
            shape, count = tuple(parameter.ds_shape), parameter.ds_numel
            start = parameter.ds_tensor.numel() * engine.global_rank
            length = max(min(parameter.ds_tensor.numel(), count - start), 0)  # the last ranks' shares are padded
            views = {"weight": safe_get_local_fp32_param(parameter)}
            views |= {key: safe_get_local_optimizer_state(parameter, key) for key in MOMENTS}
            if length:
                yield Piece(name, shape, start, {key: view[:length] for key, view in views.items()})
        elif (mapping := parameter._hp_mapping) is not None:
            views = {"weight": mapping.get_hp_fragment()}
            views |= {key: mapping.get_optim_state_fragment(key) for key in MOMENTS}
            yield Piece(name, tuple(parameter.shape), mapping.lp_fragment_address.start, views)


def optimizer_steps(engine: Any) -> list[Tensor]:
    """The step counters of AdamW's bias correction, one a buffer, in live memory."""
    return [state["step"] for state in _states(engine).values()]


def publish_weights(engine: Any) -> None:
    """Bring the parameters that forward passes read in line with the optimizer's float32 weights."""
    stage = engine.zero_optimization_stage()
    if stage == 3:
        engine.optimizer._partition_all_parameters()
        for group in range(len(engine.optimizer.fp16_groups)):
            engine.optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if engine.optimizer.persistent_parameters:
            engine.optimizer.persistent_parameters[0].all_gather(engine.optimizer.persistent_parameters)
    elif stage:
        engine.optimizer.update_lp_params()


def _lay_out_moments(engine: Any, optimizer: torch.optim.Optimizer) -> None:
    """Make the optimizer's state before its first step, so that a checkpoint can be loaded into it."""
    for buffer, state in _states(engine).items():
        step = torch.zeros((), dtype=torch.float32, device=buffer.device if optimizer.defaults["fused"] else "cpu")
        state.update({"step": step, **{key: torch.zeros_like(buffer) for key in MOMENTS}})
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _states(engine: Any) -> dict[Tensor, dict[str, Tensor]]:
    """The inner optimizer's state by the buffer that it belongs to."""
    outer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return {buffer: outer.optimizer.state[buffer] for buffer in outer.fp32_partitioned_groups_flat}
    inner = outer.optimizer if engine.zero_optimization_stage() else outer
    return {buffer: inner.state[buffer] for group in inner.param_groups for buffer in group["params"]}
