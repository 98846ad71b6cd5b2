"""Load a model and its processor from a Hugging Face directory: safetensors only, none of its code, no network."""

import sys
from pathlib import Path
from typing import Any

import torch

from pebr.errors import InputError

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}  # of weights, by their names in settings


def load_processor(path: Path | str, min_pixels: int | None = None, max_pixels: int | None = None) -> Any:
    """The processor (tokenizer, image processor, chat template) of a model directory.

    Args:
        path: the directory.
        min_pixels: images with fewer pixels are enlarged to this many; the directory's own setting when None.
        max_pixels: images with more pixels are shrunk to this many; the directory's own setting when None.

    Raises:
        InputError: when the directory holds no processor.
    """
    from transformers import AutoProcessor

    _require(path, "preprocessor_config.json", "processor_config.json")
    processor = AutoProcessor.from_pretrained(str(path), local_files_only=True)
    size = dict(processor.image_processor.size)
    if min_pixels:
        size["shortest_edge"] = min_pixels
    if max_pixels:
        size["longest_edge"] = max_pixels
    processor.image_processor.size = size
    return processor


def load_config(path: Path | str) -> Any:
    """The model's configuration.

    Raises:
        InputError: when the directory holds none.
    """
    from transformers import AutoConfig

    _require(path, "config.json")
    return AutoConfig.from_pretrained(str(path), local_files_only=True)


def load_model(path: Path | str, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> Any:
    """The vision-language model, in evaluation mode, on the CPU.

    Args:
        path: the directory; its weights must be safetensors (a pickle is never opened).
        dtype: of the parameters.
        attention: transformers' name of the attention implementation.

    Raises:
        InputError: when the directory holds no model, or only pickled weights.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    _require(path, "config.json")
    _require(path, "model.safetensors", "model.safetensors.index.json")
    model = AutoModelForImageTextToText.from_pretrained(
        str(path), dtype=dtype, attn_implementation=attention, use_safetensors=True, local_files_only=True
    )
    return model.eval()


def _require(path: Path | str, *names: str) -> None:
    """Raise an InputError unless the directory holds one of these files."""
    if not any((Path(path) / name).is_file() for name in names):
        raise InputError(
            f"{path}: no {' or '.join(names)} here: give a Hugging Face model directory with safetensors weights"
        )
