"""The supported families of vision-language models.

To add a family: write a module like `qwen3_vl.py`, and add it to `FAMILIES`.
"""

from typing import Literal

import pebr.vlm.torchvision_operators  # noqa: F401 - makes transformers' image processors importable
from pebr.errors import InputError
from pebr.vlm.families.contract import Config, Family, Model, Processor
from pebr.vlm.families.qwen2_5_vl import Qwen25VL
from pebr.vlm.families.qwen3_5 import Qwen35
from pebr.vlm.families.qwen3_vl import Qwen3VL

FAMILIES: tuple[Family, ...] = (Qwen25VL(), Qwen3VL(), Qwen35())


def family_named(name: str, where: object, kind: Literal["model_type", "processor"] = "model_type") -> Family:
    """The family with this model type, or the first one with this class of processor.

    Raises:
        InputError: when it is not supported; the message names `where`.
    """
    known: dict[str, Family] = {}
    for family in FAMILIES:
        known.setdefault(str(getattr(family, kind)), family)
    if name not in known:
        raise InputError(f"{where}: {kind} {name!r} is not supported: give a model with one of {', '.join(known)}")
    return known[name]


def family_of(config: Config) -> Family:
    """The family of a model's configuration."""
    return family_named(config.model_type, config.name_or_path)


def family_of_processor(processor: Processor) -> Family:
    """The family of a processor: that of the model it came with, else the first one with its class."""
    name = getattr(processor, "model_type", "")
    return family_named(name, "processor") if name else family_named(type(processor).__name__, "processor", "processor")


def train_vision(model: Model, train: bool) -> None:
    """Train or freeze the vision tower and the projector."""
    for name in family_of(model.config).vision:
        model.get_submodule(name).requires_grad_(train)
