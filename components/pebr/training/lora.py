"""LoRA (arXiv 2106.09685): train low-rank adapters of the language model's linear layers; everything else is frozen.

The sharded output gets merged weights, W + scaling * B A, under the names of the model without adapters, and so does a
sampler that takes no adapters.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pebr.vlm.families import family_of

ADAPTER = "default"  # peft's name for the one adapter
SCALING = 2


class Weight(NamedTuple):
    """A weight of the Hugging Face model, and the parameters that must be gathered to compute it."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    value: Callable[[], Tensor]


def attach(model: Any, rank: int, seed: int) -> None:
    """Freeze a model and add adapters to every linear layer of its language model. Their initial output is 0.

    `seed` is that of A, the random one of the two matrices; it must be the same in every process.
    """
    from peft import LoraConfig, inject_adapter_in_model

    language = f"{family_of(model.config).language_model}."
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(r=rank, lora_alpha=SCALING * rank, target_modules=[n for n in layers if n.startswith(language)])
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)


class WithoutAdapters(nn.Module):
    """The same module with its adapters switched off: the model that training began with, at no cost of memory."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._adapted = (module,)  # in a tuple: its parameters are not this module's

    def forward(self, *arguments: Any) -> Any:
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [layer for layer in self._adapted[0].modules() if isinstance(layer, BaseTunerLayer)]
        for layer in layers:  # `enable_adapters` would also change what is trained
            layer._disable_adapters = True
        try:
            return self._adapted[0](*arguments)
        finally:
            for layer in layers:
                layer._disable_adapters = False


def weights_of(model: nn.Module) -> Iterator[Weight]:
    """The model's weights under their Hugging Face names, with adapters (if any) merged. Tied weights come once."""
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


def adapters_of(model: nn.Module) -> Iterator[Weight]:
    """The adapters: `LAYER.lora_A.weight` (rank, in) and `LAYER.lora_B.weight` (out, rank)."""
    for name, parameter in model.named_parameters():
        if f".{ADAPTER}.weight" in name:
            yield Weight(name.replace(f".{ADAPTER}", ""), (parameter,), _itself(parameter))


def _itself(parameter: nn.Parameter) -> Callable[[], Tensor]:
    return lambda: parameter.data


def _sum(base: nn.Parameter, down: nn.Parameter, up: nn.Parameter, scaling: float) -> Callable[[], Tensor]:
    """W (out, in), A (rank, in) and B (out, rank) -> W + scaling * B A, computed in float32, in W's format."""

    def value() -> Tensor:
        with torch.no_grad():
            return (base.float() + scaling * (up.float() @ down.float())).to(base.dtype)

    return value
