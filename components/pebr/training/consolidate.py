"""Write one Hugging Face model from sharded weights, with a few megabytes of memory for any model size.

Tensors are copied from the ranks' files to the model's files in pieces, through one small buffer. Before anything is
written, names and shapes of the sharded tensors must equal those of the model that `config.json` describes. Tied
weights (an output head that is the embedding) are one tensor, are stored once, and stay tied.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.training.sharded import Sharded, ShardedTensors
from pebr.training.tensorfile import TensorFileWriter
from pebr.vlm.loading import load_config

log = logging.getLogger(__name__)

PIECE_ELEMENTS = 1 << 22
WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf", ".h5")
Format = Literal["keep", "float32", "bfloat16", "float16"]


def consolidate(
    sharded: Path | str,
    model: Path | str,
    output: Path | str,
    dtype: Format = "keep",
    max_shard_bytes: int = 4_000_000_000,
) -> int:
    """Write a Hugging Face directory atomically. Returns the number of bytes of its weights.

    Args:
        sharded: directory written by the engine's `save_sharded`.
        model: Hugging Face directory that training began with: configuration, tokenizer, processor.
        dtype: format of the floating-point weights; `keep` for that of the shards.
        max_shard_bytes: maximum size of a file of weights that holds more than one tensor.

    Raises:
        InputError: shards and model differ; names the tensors that are missing, unknown or of another shape.
    """
    source = ShardedTensors(sharded)
    names = _names_on_disk(source, Path(model))
    formats = {name: _target(source.tensors[name].dtype, dtype) for name in names.values()}
    files = list(_files(names, source.tensors, formats, max_shard_bytes))
    with atomic_directory(Path(output)) as beside:
        total = 0
        weight_map: dict[str, str] = {}
        for number, tensors in enumerate(files, start=1):
            file = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
            _write(beside / file, tensors, source, formats)
            weight_map |= dict.fromkeys(tensors, file)
            total += sum(_bytes(source.tensors[name], formats[name]) for name in tensors.values())
        if len(files) > 1:
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
            (beside / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
        _copy_the_rest(Path(model), beside, next(iter(formats.values())))
    source.close()
    log.info("%s: %d tensors, %.2f GB, %d files", output, len(names), total / 1e9, len(files))
    return total


def _names_on_disk(source: ShardedTensors, model: Path) -> dict[str, str]:
    """Map each tensor's name in the files of a Hugging Face model to its name in the shards, and check them."""
    from transformers import AutoModelForImageTextToText
    from transformers.core_model_loading import revert_weight_conversion

    with torch.device("meta"):
        skeleton: Any = AutoModelForImageTextToText.from_config(load_config(model))
    expected = dict(skeleton.named_parameters())  # tied weights once
    missing, unknown = sorted(expected.keys() - source.tensors.keys()), sorted(source.tensors.keys() - expected.keys())
    if missing or unknown:
        raise InputError(
            f"{source.directory}: {len(missing)} tensors of the model in {model} are missing ({_few(missing)}) and"
            f" {len(unknown)} are not the model's ({_few(unknown)}): give the model that training began with"
        )
    for name, parameter in expected.items():
        if tuple(parameter.shape) != source.tensors[name].shape:
            raise InputError(
                f"{source.directory}: {name} is {list(source.tensors[name].shape)}, {list(parameter.shape)} in the"
                f" model in {model}: give the model that training began with"
            )
    # A tensor's name in a file may differ from its name in the code; transformers has the mapping.
    in_code = {id(parameter): name for name, parameter in expected.items()}
    return {name: in_code[id(parameter)] for name, parameter in revert_weight_conversion(skeleton, expected).items()}


def _files(
    names: dict[str, str], tensors: dict[str, Sharded], formats: dict[str, torch.dtype], limit: int
) -> Iterator[dict[str, str]]:
    """The tensors of each file: name on disk -> name in the shards."""
    file: dict[str, str] = {}
    size = 0
    for on_disk, name in names.items():
        need = _bytes(tensors[name], formats[name])
        if file and size + need > limit:
            yield file
            file, size = {}, 0
        file[on_disk] = name
        size += need
    yield file


def _write(path: Path, names: dict[str, str], source: ShardedTensors, formats: dict[str, torch.dtype]) -> None:
    """Write one file of weights. Wider formats come first, so that each tensor begins at a multiple of its width."""
    order = sorted(names, key=lambda on_disk: -formats[names[on_disk]].itemsize)
    announced = [(on_disk, formats[names[on_disk]], source.tensors[names[on_disk]].shape) for on_disk in order]
    with TensorFileWriter(path, announced, {"format": "pt"}) as file:
        for on_disk in order:
            for piece in source.pieces(names[on_disk], PIECE_ELEMENTS):
                file.write(piece.to(formats[names[on_disk]]))


def _copy_the_rest(model: Path, output: Path, dtype: torch.dtype) -> None:
    """Copy every file that is not weights, and write the configuration with the new dtype."""
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name != "config.json" and not path.name.endswith(WEIGHT_SUFFIXES):
            shutil.copyfile(path, output / path.name)
    config = json.loads((model / "config.json").read_text())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in {"dtype", "torch_dtype"} & part.keys():
            part[key] = str(dtype).removeprefix("torch.")
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _target(stored: torch.dtype, wanted: Format) -> torch.dtype:
    if wanted == "keep" or not stored.is_floating_point:
        return stored
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]


def _bytes(tensor: Sharded, dtype: torch.dtype) -> int:
    return torch.Size(tensor.shape).numel() * dtype.itemsize


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
