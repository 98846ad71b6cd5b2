"""Checks the weights that a trainer sends to a sampler: each one once, with the right shape."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from pebr.sampling.contract import SyncError
from pebr.vlm.families.contract import Config


def expected_weights(config: Config) -> dict[str, torch.Size]:
    """Names and shapes of a model's weights, as the trainer names them; tied weights are listed once.

    No memory is allocated for the weights.
    """
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def checked(
    parameters: Iterable[tuple[str, Tensor]], expected: Mapping[str, torch.Size]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights unchanged.

    Raises:
        SyncError: when a name is unexpected or repeated, a shape differs, or, after the last weight, one is missing.
    """
    missing = set(expected)
    for name, tensor in parameters:
        if name not in expected:
            raise SyncError(f"{name}: not a weight of the sampler's model")
        if name not in missing:
            raise SyncError(f"{name}: given twice")
        if tensor.shape != expected[name]:
            raise SyncError(f"{name}: shape {tuple(tensor.shape)}, the sampler's is {tuple(expected[name])}")
        missing.remove(name)
        yield name, tensor
    if missing:
        raise SyncError(f"{len(missing)} of {len(expected)} weights were not given, the first is {min(missing)}")
