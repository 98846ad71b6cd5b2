"""Load a model and its processor from a Hugging Face directory: safetensors only, no code from it, no network."""

import sys
from pathlib import Path

import torch

from pebr.errors import InputError
from pebr.vlm.families import family_named, family_of_processor
from pebr.vlm.families.contract import Config, Model, Processor

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}  # of weights, by their names in settings


def load_processor(path: Path | str, min_pixels: int | None = None, max_pixels: int | None = None) -> Processor:
    """The processor (tokenizer, image processor, chat template) of a model directory.

    Images are enlarged to `min_pixels` and shrunk to `max_pixels`; None keeps the directory's setting.

    Raises:
        InputError: when the directory has no processor, or one of a family that is not supported.
    """
    from transformers import AutoProcessor

    _require(path, "preprocessor_config.json", "processor_config.json")
    processor = AutoProcessor.from_pretrained(str(path), local_files_only=True)
    family_of_processor(processor).limit_pixels(processor, min_pixels, max_pixels)
    return processor


def load_config(path: Path | str) -> Config:
    """The model's configuration.

    Raises:
        InputError: when the directory has none, or the model's family is not supported.
    """
    from transformers import AutoConfig, PretrainedConfig

    _require(path, "config.json")
    fields, _ = PretrainedConfig.get_config_dict(str(path), local_files_only=True)
    family_named(fields.get("model_type", ""), path)
    return AutoConfig.from_pretrained(str(path), local_files_only=True)


def load_model(path: Path | str, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> Model:
    """The vision-language model, in evaluation mode, on the CPU; pickled weights are never opened.

    Raises:
        InputError: when the directory has no model or only pickled weights, or the family is not supported.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    load_config(path)
    _require(path, "model.safetensors", "model.safetensors.index.json")
    model = AutoModelForImageTextToText.from_pretrained(
        str(path), dtype=dtype, attn_implementation=attention, use_safetensors=True, local_files_only=True
    )
    return model.eval()


def _require(path: Path | str, *names: str) -> None:
    """Raise an InputError unless the directory has one of these files."""
    if not any((Path(path) / name).is_file() for name in names):
        raise InputError(
            f"{path}: no {' or '.join(names)} here: give a Hugging Face model directory with safetensors weights"
        )
