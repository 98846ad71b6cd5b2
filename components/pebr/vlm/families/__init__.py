"""The supported families of vision-language models, and what they are asked for.

To add a family: write a module beside `qwen3_vl.py`, and add it to `FAMILIES`.
"""

from pebr.errors import InputError
from pebr.vlm.families.contract import Config, Family, Model, Processor
from pebr.vlm.families.qwen2_5_vl import Qwen25VL
from pebr.vlm.families.qwen3_vl import Qwen3VL

FAMILIES: tuple[Family, ...] = (Qwen25VL(), Qwen3VL())


def family_named(model_type: str, where: object) -> Family:
    """The family of a model type.

    Raises:
        InputError: when it is not supported; `where` is named in the message.
    """
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise InputError(f"{where}: model type {model_type!r} is not supported: give a model of type {known}")


def family_of(config: Config) -> Family:
    """The family of a model's configuration."""
    return family_named(config.model_type, config.name_or_path or "the model")


def family_of_processor(processor: Processor) -> Family:
    """The family of a processor.

    Raises:
        InputError: when it is not supported.
    """
    name = type(processor).__name__
    for family in FAMILIES:
        if family.processor == name:
            return family
    known = ", ".join(family.processor for family in FAMILIES)
    raise InputError(f"a processor of class {name} is not supported: give a model with one of {known}")


def train_vision(model: Model, train: bool) -> None:
    """Train or freeze the vision tower and the projector."""
    for name in family_of(model.config).vision:
        model.get_submodule(name).requires_grad_(train)
