"""DeepSpeed's ZeRO for the engine: configuration, access to each parameter's float32 state, gathered weights.

ZeRO (arXiv 1910.02054) keeps the optimizer's float32 weights and moments in flat buffers; each rank owns a part. A
`Piece` is a run of a parameter's elements that a rank owns, with views into the live buffers. Saving reads these views
and loading writes them, so a checkpoint contains parameters and elements, not ranks or stages.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pebr.errors import InputError
from pebr.training.lora import Weight
from pebr.training.sharded import ShardedTensors

Engine: TypeAlias = Any  # DeepSpeed's engine; the library has no types
Configuration: TypeAlias = dict[str, object]  # DeepSpeed's, in its JSON form

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Piece:
    """A run of one parameter's elements, in float32, that a rank's optimizer updates."""

    name: str  # of the parameter
    shape: tuple[int, ...]  # of the whole parameter
    start: int  # index of the run's first element in the flattened parameter
    tensors: dict[str, Tensor]  # `weight`, `exp_avg`, `exp_avg_sq`: views into live memory, (length,) each


def configuration(
    stage: int,
    bf16: bool,
    max_grad_norm: float,
    on_gpu: bool,
    optimizer_on_host: bool = False,
    weights_on_host: bool = False,
) -> Configuration:
    """DeepSpeed's configuration for one stage.

    Each rank accumulates gradients in float32. Ranks exchange them in the model's format. What lies on the host lies
    in its memory; from there, weights are brought to the device layer by layer.
    """
    on_host = {"device": "cpu", "pin_memory": on_gpu}
    return {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed only checks its product with the ranks
        "gradient_accumulation_steps": 1,  # `update` sets the boundary itself, for any number of micro-batches
        "gradient_clipping": max_grad_norm if stage else 0.0,  # stage 0: the engine clips
        "zero_allow_untested_optimizer": True,  # torch's AdamW
        "zero_force_ds_cpu_optimizer": False,  # on the host too
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": on_gpu,
            "contiguous_gradients": True,
            **({"offload_optimizer": on_host} if optimizer_on_host else {}),
            **({"offload_param": on_host} if weights_on_host else {}),
        },
        "bf16": {"enabled": bf16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 2**62,
    }


def initialize(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, config: Configuration, on_gpu: bool
) -> Engine:
    """Create DeepSpeed's engine around a model on its device, with the optimizer's state (if any) created and 0."""
    deepspeed = _library(on_gpu)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    for name, buffer in model.named_buffers():  # DeepSpeed rounds buffers to bf16, which would spoil rotary frequencies
        buffer.data = buffers[name].to(buffer.device)
    if optimizer is not None:
        _create_moments(engine, optimizer)
    return engine


def _library(on_gpu: bool) -> Any:
    """DeepSpeed, on this machine's accelerator or its CPU."""
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed needs it even for a single process
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not on_gpu:
        # It is compiled with g++ on first use: a minute, and a writable home folder. gloo replaces it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def declarer(config: Configuration, device: torch.device) -> Any:
    """What declares parameters to DeepSpeed as ZeRO-3's; its `rank` is this process's."""
    deepspeed = _library(device.type == "cuda")
    deepspeed.init_distributed(dist_init_required=False, verbose=False)
    return deepspeed.zero.Init(config_dict_or_path=config)  # not entered: nothing of torch is patched


def declare(init: Any, parameter: nn.Parameter) -> Tensor:
    """Make a parameter, of which only shape, format and device matter, one of ZeRO-3's that is partitioned.

    Returns this rank's share of its elements, to be filled: (ceil(elements / ranks),).
    """
    from deepspeed.runtime.zero.partition_parameters import PartitionedParamStatus, free_param

    init._convert_to_deepspeed_param(parameter)
    made: Any = parameter
    made.ds_numel_aligned = init._aligned_size(parameter)
    place = init.local_device if made.ds_persist else init.remote_device
    share: Any = torch.empty(
        made.ds_numel_aligned // init.dp_world_size, dtype=parameter.dtype, device=str(place), requires_grad=False
    )
    share.ds_numel, share.status, share.final_location = len(share), PartitionedParamStatus.AVAILABLE, None
    made.ds_tensor = share
    free_param(parameter)
    values: Tensor = share
    return values


def pieces(engine: Engine) -> Iterator[Piece]:
    """What this rank's optimizer updates, in the order of the module's parameters; everything without ZeRO."""
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
            length = max(min(parameter.ds_tensor.numel(), count - start), 0)  # shares of the last ranks are padded
            views = {"weight": safe_get_local_fp32_param(parameter)}
            views |= {key: safe_get_local_optimizer_state(parameter, key) for key in MOMENTS}
            if length:
                yield Piece(name, shape, start, {key: view[:length] for key, view in views.items()})
        elif (mapping := parameter._hp_mapping) is not None:
            views = {"weight": mapping.get_hp_fragment()}
            views |= {key: mapping.get_optim_state_fragment(key) for key in MOMENTS}
            yield Piece(name, tuple(parameter.shape), mapping.lp_fragment_address.start, views)


def optimizer_steps(engine: Engine) -> list[Tensor]:
    """The step counters of AdamW's bias correction, one per buffer, in live memory."""
    return [state["step"] for state in _states(engine).values()]


def load(engine: Engine, saved: ShardedTensors) -> None:
    """Copy weights and moments from a checkpoint.

    Raises:
        InputError: the checkpoint is of another model.
    """
    for piece in pieces(engine):
        for key, view in piece.tensors.items():
            entry = saved.tensors.get(f"{key}:{piece.name}")
            if entry is None or entry.shape != piece.shape:
                raise InputError(
                    f"{saved.directory}: {piece.name} is {entry and list(entry.shape)} there and"
                    f" {list(piece.shape)} in this model: remove the checkpoints of the other model"
                )
            view.copy_(saved.read(f"{key}:{piece.name}", piece.start, piece.start + len(view)))
    publish_weights(engine)


def publish_weights(engine: Engine) -> None:
    """Copy the optimizer's float32 weights to the parameters that forward passes read."""
    stage = engine.zero_optimization_stage()
    if stage == 3:
        engine.optimizer._partition_all_parameters()
        for group in range(len(engine.optimizer.fp16_groups)):
            engine.optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if engine.optimizer.persistent_parameters:
            engine.optimizer.persistent_parameters[0].all_gather(engine.optimizer.persistent_parameters)
    elif stage:
        engine.optimizer.update_lp_params()


def gathered(weights: Iterable[Weight], bucket_bytes: int) -> Iterator[tuple[str, Tensor]]:
    """Name and full value of each ZeRO-3 weight. Parameters are gathered in buckets; all ranks call this together."""
    from deepspeed.runtime.zero import GatheredParameters

    for bucket in _buckets(weights, bucket_bytes):
        with GatheredParameters([parameter for weight in bucket for parameter in weight.parameters]):
            for weight in bucket:
                yield weight.name, weight.value()


def _buckets(weights: Iterable[Weight], limit: int) -> Iterator[list[Weight]]:
    """Runs of ZeRO-3 weights of at most `limit` bytes together, or of one larger weight."""
    bucket: list[Weight] = []
    size = 0
    for weight in weights:
        need = sum(parameter.ds_numel * parameter.element_size() for parameter in weight.parameters)  # type: ignore[attr-defined]
        if bucket and size + need > limit:
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += need
    if bucket:
        yield bucket


def _create_moments(engine: Engine, optimizer: torch.optim.Optimizer) -> None:
    """Create the optimizer's state before its first update, so that a checkpoint can be loaded into it."""
    for buffer, state in _states(engine).items():
        step = torch.zeros((), dtype=torch.float32, device=buffer.device if optimizer.defaults["fused"] else "cpu")
        state.update({"step": step, **{key: torch.zeros_like(buffer) for key in MOMENTS}})
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _states(engine: Engine) -> dict[Tensor, dict[str, Tensor]]:
    """The inner optimizer's state by the buffer that it belongs to."""
    outer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return {buffer: outer.optimizer.state[buffer] for buffer in outer.fp32_partitioned_groups_flat}
    inner = outer.optimizer if engine.zero_optimization_stage() else outer
    return {buffer: inner.state[buffer] for group in inner.param_groups for buffer in group["params"]}
