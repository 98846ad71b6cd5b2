"""Models load from safetensors in a directory, and from nothing else."""

import shutil
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.vlm.loading import load_config, load_model, load_processor


def test_a_model_loads_with_its_family(model_directory: Path) -> None:
    assert load_model(model_directory).config.model_type == load_config(model_directory).model_type


def test_a_wrong_directory_is_named(tmp_path: Path) -> None:
    for load in (load_config, load_model, load_processor):
        with pytest.raises(InputError, match=str(tmp_path)):
            load(tmp_path)


def test_pickled_weights_are_never_opened(model_directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_directory, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_model(copy)
