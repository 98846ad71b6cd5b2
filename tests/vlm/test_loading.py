"""Models load from safetensors in a directory of a supported family, and from nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.vlm.families import family_of_processor, train_vision
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


@pytest.mark.parametrize("model_type", ["llava", "not in transformers"])
def test_a_family_that_is_not_supported_is_refused(model_directory: Path, tmp_path: Path, model_type: str) -> None:
    config = json.loads((model_directory / "config.json").read_text()) | {"model_type": model_type}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for load in (load_config, load_model):
        with pytest.raises(InputError, match=rf"{model_type}' is not supported: .*qwen2_5_vl, qwen3_vl"):
            load(tmp_path)


def test_a_processor_that_is_not_supported_is_refused() -> None:
    with pytest.raises(InputError, match=r"'object' is not supported: .*Qwen3VLProcessor"):
        family_of_processor(object())


@pytest.mark.parametrize("train", [False, True])
def test_the_vision_part_is_frozen_as_a_whole(model_directory: Path, train: bool) -> None:
    model = load_model(model_directory)
    train_vision(model, train)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    language = {name for name, _ in model.named_parameters() if not name.startswith("model.visual.")}
    assert language < trained if train else language == trained
