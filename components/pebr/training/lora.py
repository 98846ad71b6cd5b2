"""LoRA (arXiv 2106.09685): train low-rank adapters beside the language model's linear layers, all else frozen.

Adapters never leave the engine: whoever asks it for weights (the sampler, the sharded output) gets each layer's weight
with its adapter added, W + scaling * B A, under the name that it has in the model without adapters.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pebr.vlm.families import family_of

ADAPTER = "default"  # peft's name for the one adapter


class Weight(NamedTuple):
    """A weight of the Hugging Face model, and the parameters that must be whole to compute it."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    value: Callable[[], Tensor]


def attach(model: Any, rank: int, seed: int) -> None:
    """Freeze a model and add adapters to every linear layer of its language model; at first they add nothing.

    Args:
        model: a Hugging Face vision-language model; changed in place.
        rank: of the adapters; their scaling is 2.
        seed: of their random half, the same in every process.
    """
    from peft import LoraConfig, inject_adapter_in_model

    language = f"{family_of(model.config).language_model}."
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=[n for n in layers if n.startswith(language)])
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def weights_of(model: nn.Module) -> Iterator[Weight]:
    """The model's weights as a Hugging Face model has them, with adapters (if it has any) added in; tied ones once."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        layer, _, kind = name.partition(".base_layer.")
        down, up = (parameters.get(f"{layer}.{side}.{ADAPTER}.weight") for side in ("lora_A", "lora_B"))
        if kind == "weight" and down is not None and up is not None:
            scaling: Any = model.get_submodule(layer).scaling
            yield Weight(f"{layer}.weight", (parameter, down, up), _sum(parameter, down, up, scaling[ADAPTER]))
        elif kind:
            yield Weight(f"{layer}.{kind}", (parameter,), _itself(parameter))
        elif ".lora_" not in name:
            yield Weight(name, (parameter,), _itself(parameter))


def _itself(parameter: nn.Parameter) -> Callable[[], Tensor]:
    return lambda: parameter.data


def _sum(base: nn.Parameter, down: nn.Parameter, up: nn.Parameter, scaling: float) -> Callable[[], Tensor]:
    """W (out, in), A (rank, in) and B (out, rank) -> W + scaling * B A, computed in float32, in W's format."""

    def value() -> Tensor:
        with torch.no_grad():
            return (base.float() + scaling * (up.float() @ down.float())).to(base.dtype)

    return value
