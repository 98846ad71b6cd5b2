"""Weights on their way from the trainer to a sampler: every one of them, once, of the right shape."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from pebr.sampling.contract import SyncError


def expected_weights(config: object) -> dict[str, torch.Size]:
    """Names and shapes of a model's weights as a trainer has them; tied ones stand there once.

    Args:
        config: of the Hugging Face model; no memory is taken for the weights.
    """
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def checked(
    parameters: Iterable[tuple[str, Tensor]], expected: Mapping[str, torch.Size]
) -> Iterator[tuple[str, Tensor]]:
    """Pass the weights on.

    Raises:
        SyncError: at a name that is not expected or was there before, at another shape, and, after the last weight,
            when expected ones were missing.
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
