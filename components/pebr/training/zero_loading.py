"""Loads a model for ZeRO-3: each rank reads its own elements of every weight, and no rank ever holds the whole model.

`deepspeed.zero.Init` would create each weight whole, on every rank, and cut it. Here the model is made without values;
each parameter is declared to DeepSpeed with its shape, and its share is read from the safetensors files in pieces.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pebr.errors import InputError
from pebr.step.launch import Place
from pebr.training import zero
from pebr.training.engine_settings import EngineSettings
from pebr.training.tensorfile import Entry, read_elements, read_header
from pebr.vlm.families.contract import Model
from pebr.vlm.loading import DTYPES, load_config, load_model
from pebr.vlm.weights import is_finite, readable, skeleton

PIECE_ELEMENTS = 1 << 22


def load_trainable(path: Path | str, settings: EngineSettings, place: Place) -> Model:
    """The model for a training engine of these settings: partitioned with ZeRO-3, else whole and on the CPU."""
    if settings.zero_stage < 3:
        return load_model(path, DTYPES[settings.dtype])
    return load_partitioned(path, DTYPES[settings.dtype], settings.deepspeed(place.device), place.device)


def frozen(
    path: Path | str, settings: EngineSettings, place: Place, on_host: bool, wrap: Callable[[Model], nn.Module]
) -> nn.Module:
    """A frozen model that forward passes may call, such as the reference of the KL term.

    With ZeRO-3 it is partitioned over the ranks like the model that is trained, otherwise it is whole on every device.

    Args:
        path: Hugging Face directory.
        settings: of the training engine.
        place: of this process.
        on_host: keep the weights in the host's memory, each rank its share, and bring them to the device layer by
            layer. Every forward pass then copies the whole model over the bus.
        wrap: makes the module that is called from the model.
    """
    if settings.zero_stage < 3 and not on_host:
        model = load_model(path, DTYPES[settings.dtype]).to(place.device)
        return wrap(model.requires_grad_(False)).eval()
    config = dataclasses.replace(settings, zero_stage=3, offload="none").deepspeed(
        place.device, weights_on_host=on_host
    )
    model = load_partitioned(path, DTYPES[settings.dtype], config, place.device)
    engine: nn.Module = zero.initialize(wrap(model.requires_grad_(False)), None, config, place.device.type == "cuda")
    engine.eval()  # DeepSpeed's returns nothing
    return engine


def load_partitioned(path: Path | str, dtype: torch.dtype, config: zero.Configuration, device: torch.device) -> Model:
    """The vision-language model in evaluation mode, its parameters partitioned over all ranks as ZeRO-3 does it.

    Args:
        path: Hugging Face directory.
        dtype: of the weights in memory.
        config: DeepSpeed's, as `zero.configuration` makes it.
        device: where forward passes run.

    Raises:
        InputError: the weights are not whole, do not fit, or are not finite.
    """
    directory = Path(path)
    model, places = skeleton(directory, load_config(directory))
    with readable(directory, "weights"):
        entries = {file: read_header(file).entries for file in {file for file, _ in places.values()}}
    init = zero.declarer(config, device)
    declared: dict[int, nn.Parameter] = {}  # id of the parameter without values -> its successor; tied ones are one
    for name, parameter in model.named_parameters():
        file, on_disk = places[name]
        made = nn.Parameter(torch.empty(1, dtype=dtype, device=device).expand(parameter.shape), requires_grad=True)
        share = zero.declare(init, made)
        start = len(share) * init.rank
        if not _fill(share, file, entries[file][on_disk], start):
            raise InputError(f"{directory}: NaN or infinite values in {on_disk}: fetch or train the model again")
        declared[id(parameter)] = made
    for module in model.modules():
        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            setattr(module, key, declared[id(parameter)])
    _fill_buffers(model, device)
    model.config.name_or_path = str(path)
    return model.eval()


def _fill(share: Tensor, file: Path, entry: Entry, start: int) -> bool:
    """Read a rank's share of a tensor, from its element `start` on; elements beyond its end are 0.

    Returns whether all values are finite.
    """
    share.zero_()
    stop = min(start + len(share), torch.Size(entry.shape).numel())
    for first in range(start, stop, PIECE_ELEMENTS):
        values = read_elements(file, entry, first, min(first + PIECE_ELEMENTS, stop))
        if not is_finite(values):
            return False
        share[first - start : first - start + len(values)].copy_(values)
    return True


def _fill_buffers(model: Model, device: torch.device) -> None:
    """Compute the buffers, which are not stored: rotary frequencies."""
    for module in model.modules():
        names: Any = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for name in names:
            setattr(module, name, torch.empty_like(getattr(module, name), device=device))
        if names:
            model._init_weights(module)
