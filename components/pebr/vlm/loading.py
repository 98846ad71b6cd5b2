"""Load a model and its processor from a Hugging Face directory: safetensors only, no code from it, no network.

A model is loaded whole or not at all: its weights are checked wherever it is loaded, and everything else, by
`check_model`, where it is brought in and before a step starts.
"""

import sys
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from pebr.errors import InputError
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import family_named, family_of_processor
from pebr.vlm.families.contract import Config, Model, Processor
from pebr.vlm.prompt import read_template
from pebr.vlm.weights import INDEX, SINGLE, check_weights, readable

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}  # of weights, by their names in settings
SAMPLE = (64, 64)  # pixels of the image of the question that is tried


def load_processor(path: Path | str, min_pixels: int | None = None, max_pixels: int | None = None) -> Processor:
    """The processor (tokenizer, image processor, chat template) of a model directory, with its `question_template`.

    Images are enlarged to `min_pixels` and shrunk to `max_pixels`; None keeps the directory's setting.

    Raises:
        InputError: when the directory has no processor or no chat template, or the family is not supported.
    """
    from transformers import AutoProcessor

    _require(path, "preprocessor_config.json", "processor_config.json")
    with readable(path, "the processor"):
        processor = AutoProcessor.from_pretrained(str(path), local_files_only=True)
    family = family_of_processor(processor)
    if (Path(path) / "config.json").is_file() and (own := family_named(load_config(path).model_type, path)) != family:
        if own.processor != family.processor:
            kinds = f"a processor for {family.model_type}, a model {own.model_type}"
            raise InputError(f"{path}: {kinds}: give the parts of one model")
        processor.model_type, family = own.model_type, own  # families may share a class of processor
    family.limit_pixels(processor, min_pixels, max_pixels)
    if not processor.chat_template:
        raise InputError(f"{path}: no chat template: add chat_template.jinja of the instruction-tuned model")
    processor.question_template = read_template(path)
    return processor


def load_config(path: Path | str) -> Config:
    """The model's configuration.

    Raises:
        InputError: when the directory has none, or it is broken, or the model's family is not supported.
    """
    from transformers import AutoConfig, PretrainedConfig

    _require(path, "config.json")
    with readable(path, "config.json"):
        fields, _ = PretrainedConfig.get_config_dict(str(path), local_files_only=True)
        family_named(fields.get("model_type", ""), path)
        return AutoConfig.from_pretrained(str(path), local_files_only=True)


def check_model(path: Path | str) -> None:
    """Check that a directory has a whole model whose parts fit: configuration, tokenizer, chat template, weights.

    Raises:
        InputError: in one line, what is missing, broken or does not fit, with names.
    """
    config = load_config(path)
    _require(path, SINGLE, INDEX)
    encoder = Encoder(load_processor(path))
    with readable(path, "tokenizer, image processor or chat template"):
        prompt = encoder.prompt("<image>What is this?", [Image.new("RGB", SAMPLE)])
        vocabulary, known = max(encoder.tokenizer.get_vocab().values()), config.get_text_config().vocab_size
    if config.image_token_id != encoder.image_token_id:
        token = f"{config.image_token_id} in config.json, {encoder.image_token_id} in the tokenizer"
        raise InputError(f"{path}: the image token is {token}: give the parts of one model")
    if encoder.image_token_id not in prompt.token_ids:
        raise InputError(f"{path}: the chat template leaves out the image: fetch the model again")
    if vocabulary >= known:
        tokens = f"the tokenizer has a token {vocabulary}, config.json only {known} tokens"
        raise InputError(f"{path}: {tokens}: give the parts of one model")
    _check_weights(path)


def load_model(path: Path | str, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> Model:
    """The vision-language model, in evaluation mode, on the CPU; pickled weights are never opened.

    Raises:
        InputError: when the directory has no configuration, or its weights are not whole.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    _check_weights(path)
    model = AutoModelForImageTextToText.from_pretrained(
        str(path), dtype=dtype, attn_implementation=attention, use_safetensors=True, local_files_only=True
    )
    return model.eval()


def _check_weights(path: Path | str) -> None:
    """Check a model's weights. Files that have not changed are read once per process."""
    load_config(path)  # a wrong directory is named before its files are listed
    _require(path, SINGLE, INDEX)
    files = (file for file in sorted(Path(path).iterdir()) if file.is_file())
    _check_files(Path(path), tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=8)
def _check_files(directory: Path, _files: tuple[tuple[str, int, int], ...]) -> None:
    """Check the weights of a directory with these files: name, bytes, time of the last change."""
    check_weights(directory, load_config(directory))


def _require(path: Path | str, *names: str) -> None:
    """Raise an InputError unless the directory has one of these files."""
    if not any((Path(path) / name).is_file() for name in names):
        raise InputError(
            f"{path}: no {' or '.join(names)} here: give a Hugging Face model directory with safetensors weights"
        )
