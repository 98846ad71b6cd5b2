"""Loading for ZeRO-3 in shares gives the weights and buffers of whole loading."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pebr.errors import InputError
from pebr.step.launch import join
from pebr.training.engine import EngineSettings
from pebr.training.tensorfile import read_elements, read_header
from pebr.training.zero_loading import load_trainable
from pebr.vlm.loading import load_model

SETTINGS = EngineSettings(1e-3, 1, zero_stage=3)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "untied"])
def test_the_same_model_as_loaded_whole(tiny_models, name):
    model, whole = load_trainable(tiny_models[name], SETTINGS, join()), load_model(tiny_models[name])
    parameters = dict(model.named_parameters())
    assert parameters.keys() == dict(whole.named_parameters()).keys()
    for key, expected in whole.named_parameters():
        assert parameters[key].ds_shape == expected.shape
        assert torch.equal(parameters[key].ds_tensor, expected.flatten()), key  # one rank: its share is everything
    buffers = dict(model.named_buffers())
    assert buffers.keys() == dict(whole.named_buffers()).keys()
    assert all(torch.equal(buffers[key], expected) for key, expected in whole.named_buffers())
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == (name != "untied")
    assert not model.training


def test_a_value_that_is_not_finite_is_refused(tiny_models, tmp_path):
    copy = shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / "model")
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[3]
    weights[name].flatten()[-1] = torch.nan
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"NaN or infinite values in {name}"):
        load_trainable(copy, SETTINGS, join())


def test_a_missing_weight_is_refused(tiny_models, tmp_path):
    copy = shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / "model")
    weights = load_file(copy / "model.safetensors")
    del weights[sorted(weights)[3]]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="1 missing"):
        load_trainable(copy, SETTINGS, join())


def test_reading_elements_reads_these(tmp_path):
    values = {"a": torch.arange(7.0), "b": torch.arange(12).view(3, 4).to(torch.bfloat16)}
    save_file(values, tmp_path / "x.safetensors")
    entries = read_header(tmp_path / "x.safetensors").entries
    for name, value in values.items():
        read = read_elements(tmp_path / "x.safetensors", entries[name], 2, 6)
        assert torch.equal(read, value.flatten()[2:6])
