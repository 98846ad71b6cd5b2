"""Checks that a directory has a model's weights: all of them and no others, of the right shapes, finite.

transformers gives random values to a tensor that a file lacks, and ignores one that the model does not have. The check
lets transformers load the names and shapes alone, so that its renamings of older files apply, and reads the values once
from the mapped files.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from pebr.errors import InputError
from pebr.vlm.families.contract import Config, Model

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LFS = b"version https://git-lfs.github.com/spec/"
LFS_BYTES = 1024  # a pointer is shorter
NAMES_TOLD = 3


@contextmanager
def readable(directory: Path | str, what: str) -> Iterator[None]:
    """Turn the errors of a library that reads a model's files into one line that names the directory.

    Raises:
        InputError: instead of any error but one of the operating system, such as a disk that does not answer.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        pointers = [path.name for path in sorted(Path(directory).iterdir()) if is_pointer(path)]
        if pointers:
            raise InputError(f"{directory}: {few(pointers)}: Git LFS pointers, not files: run git lfs pull") from error
        reason = " ".join(f"{type(error).__name__}: {error}".replace(str(directory), "this folder").split())[:200]
        raise InputError(f"{directory}: {what} cannot be used ({reason}): fetch the model again") from error


def is_pointer(path: Path) -> bool:
    """Whether a file is what Git leaves in place of a large file that it has not fetched."""
    if not path.is_file() or path.stat().st_size > LFS_BYTES:
        return False
    return path.read_bytes().startswith(LFS)


def check_weights(directory: Path, config: Config) -> None:
    """Check the weights of a model.

    Args:
        directory: with one file of weights, or an index and its files.
        config: of the model.

    Raises:
        InputError: a file is missing or broken, or weights do not fit; the message has their names.
    """
    with ExitStack() as stack:
        tensors: dict[str, tuple[Path, Any]] = {}  # name -> its file, and the file's reader
        for path in weight_files(directory):
            with readable(directory, path.name):
                reader = stack.enter_context(safe_open(path, "pt"))
                tensors |= dict.fromkeys(reader.keys(), (path, reader))
        shapes = {name: reader.get_slice(name).get_shape() for name, (_, reader) in tensors.items()}
        with readable(directory, "config.json"):
            model = _compared(directory, config, shapes)
        values = {name: reader.get_tensor(name) for name, (_, reader) in tensors.items()}
        _check_tied(directory, model, values)
        if wrong := [name for name, value in values.items() if not is_finite(value)]:
            raise InputError(f"{directory}: NaN or infinite values in {few(wrong)}: fetch or train the model again")


def skeleton(directory: Path, config: Config) -> tuple[Model, dict[str, tuple[Path, str]]]:
    """A model without values, and where the values are: the file and the name in it of each of its parameters.

    All tensors are on the device "meta"; tied ones are one parameter. Only the headers of the files are read.

    Raises:
        InputError: a file is missing or broken, or weights do not fit.
    """
    from transformers.core_model_loading import revert_weight_conversion

    shapes: dict[str, Sequence[int]] = {}
    files: dict[str, Path] = {}
    for path in weight_files(directory):
        with readable(directory, path.name), safe_open(path, "pt") as reader:
            shapes |= {name: reader.get_slice(name).get_shape() for name in reader.keys()}  # noqa: SIM118 - no mapping
            files |= dict.fromkeys(reader.keys(), path)
    with readable(directory, "config.json"):
        model = _compared(directory, config, shapes)
    parameters = dict(model.named_parameters())
    in_code = {id(parameter): name for name, parameter in parameters.items()}
    in_files = {in_code[id(parameter)]: name for name, parameter in revert_weight_conversion(model, parameters).items()}
    ties = {name: other for pair in model.all_tied_weights_keys.items() for name, other in (pair, pair[::-1])}
    for name, on_disk in in_files.items():
        if on_disk not in files and name in ties:  # stored under the name of the parameter that it is tied to
            in_files[name] = next(known for known in files if known.endswith(ties[name]))
    return model, {name: (files[on_disk], on_disk) for name, on_disk in in_files.items()}


def weight_files(directory: Path) -> list[Path]:
    """The files of weights, by the index if there are several.

    Raises:
        InputError: the index is broken, or a file that it names is missing.
    """
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    with readable(directory, INDEX):
        names = sorted(set(json.loads((directory / INDEX).read_text())["weight_map"].values()))
    if missing := [name for name in names if not (directory / name).is_file()]:
        raise InputError(f"{directory}: {few(missing)}: not there, but in {INDEX}: fetch the missing files")
    return [directory / name for name in names]


def is_finite(value: Tensor) -> bool:
    """Whether no number is NaN or infinite; true of integers."""
    if not value.is_floating_point() or not value.numel():
        return True
    least, most = value.aminmax()  # NaN spreads to both; a mask of the tensor's size is not needed
    return bool(least.isfinite() and most.isfinite())


def few(names: Sequence[str]) -> str:
    """Some of the names, and how many there are."""
    told = ", ".join(names[:NAMES_TOLD])
    return told if len(names) <= NAMES_TOLD else f"{told} and {len(names) - NAMES_TOLD} more"


def _compared(directory: Path, config: Config, shapes: Mapping[str, Sequence[int]]) -> Model:
    """The model without values, made of tensors with these names and shapes.

    Raises:
        InputError: the model has other tensors than these.
    """
    from transformers import AutoModelForImageTextToText

    with _silence():
        with torch.device("meta"):
            kind: Any = type(AutoModelForImageTextToText.from_config(config))
        model, found = kind.from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict={name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    resized = [f"{name} {list(here)}, not {list(there)}" for name, here, there in sorted(found["mismatched_keys"])]
    faults = {
        "missing": sorted(found["missing_keys"]),
        "not the model's": sorted(found["unexpected_keys"]),
        "of another shape": resized,
    }
    told = [f"{len(names)} {fault} ({few(names)})" for fault, names in faults.items() if names]
    if told or found["error_msgs"]:
        reason = ", ".join(told) or str(found["error_msgs"][0])
        raise InputError(f"{directory}: the weights do not fit config.json: {reason}: give the whole model")
    return model


def _check_tied(directory: Path, model: Model, values: Mapping[str, Tensor]) -> None:
    """Check that tensors which the configuration ties are not stored with different values."""
    for pair in model.all_tied_weights_keys.items():
        # The end of a name, `lm_head.weight`, is the same in the code and in files.
        stored = [name for name in values for tied in pair if name.endswith(".".join(tied.split(".")[-2:]))]
        if len(stored) > 1 and not torch.equal(values[stored[0]], values[stored[1]]):
            raise InputError(
                f"{directory}: config.json ties {pair[0]} to {pair[1]}, but the files have different values of them:"
                " set tie_word_embeddings to false, or remove the output head"
            )


@contextmanager
def _silence() -> Iterator[None]:
    """Without transformers' own report and progress bar."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
