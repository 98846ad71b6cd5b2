"""A model is loaded whole or not at all: every way in which a directory can be spoiled ends in one line with names."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pebr.errors import InputError
from pebr.vlm.loading import check_model, load_model
from pebr.vlm.weights import is_finite

Weights = dict[str, Tensor]
NORM = "model.norm.weight"
BF16_NAN = torch.full((64,), float("nan"), dtype=torch.bfloat16)


@pytest.fixture
def copy(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / "copy"))


def refusal(directory: Path) -> str:
    """What is said of a directory."""
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        check_model(directory)
    assert str(directory) in str(error.value)
    return str(error.value)


def first(weights: Weights, part: str) -> str:
    return next(name for name in weights if part in name)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda w: {n: t for n, t in w.items() if "visual." not in n}, "30 missing (model.visual."),
        (lambda w: {n.replace("visual.", "tower."): t for n, t in w.items()}, "30 not the model's (tower.blocks.0."),
        (lambda w: {f"base_model.model.{n}": t for n, t in w.items()}, "not the model's (base_model.model."),
        (lambda w: {n: t for n, t in w.items() if n != NORM}, "1 missing (model.language_model.norm.weight)"),
        (lambda w: {n: t for n, t in w.items() if "layers.1." not in n}, "missing (model.language_model.layers.1."),
        (lambda w: w | {"score.weight": torch.ones(1, 64)}, "1 not the model's (score.weight)"),
        (lambda w: w | {NORM: torch.ones(32)}, "1 of another shape (model.language_model.norm.weight [32], not [64])"),
        (lambda w: w | {NORM: torch.ones(64, 1)}, "model.language_model.norm.weight [64, 1], not [64]"),
        (lambda w: w | {NORM: torch.full((64,), float("nan"))}, f"NaN or infinite values in {NORM}"),
        (lambda w: w | {NORM: BF16_NAN}, f"NaN or infinite values in {NORM}"),
        (lambda w: w | {NORM: torch.tensor([1.0] * 63 + [float("-inf")])}, f"NaN or infinite values in {NORM}"),
        (lambda w: w | {"lm_head.weight": 2 * w[first(w, "embed_tokens")]}, "ties lm_head.weight to model.language_mo"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(copy: Path, spoil: Callable[[Weights], Weights], said: str) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    save_file(spoil(weights), copy / "model.safetensors", {"format": "pt"})
    assert said in refusal(copy)
    with pytest.raises(InputError) as error:  # also where the model alone is loaded
        load_model(copy)
    assert said in str(error.value)


def replace(file: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(text)


def change_config(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= values.pop("text", {})  # type: ignore[arg-type]
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def in_two_files(folder: Path) -> None:
    """As large models are published: an index and two files."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(weights)}
    for file in set(names.values()):
        save_file({name: weights[name] for name in names if names[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def without_a_file(folder: Path) -> None:
    in_two_files(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def with_index(text: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        in_two_files(folder)
        (folder / "model.safetensors.index.json").write_text(text)

    return spoil


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 8000000\n"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "model.safetensors cannot be used"),
        (replace("model.safetensors", ""), "model.safetensors cannot be used"),
        (replace("model.safetensors", "<html>404</html>"), "model.safetensors cannot be used"),
        (replace("model.safetensors", POINTER), "model.safetensors: Git LFS pointers, not files: run git lfs pull"),
        (replace("tokenizer.json", POINTER), "tokenizer.json: Git LFS pointers"),
        (without_a_file, "model-00002-of-00002.safetensors: not there, but in model.safetensors.index.json"),
        (with_index("{"), "model.safetensors.index.json cannot be used"),
        (with_index('{"metadata": {}}'), "model.safetensors.index.json cannot be used (KeyError: 'weight_map')"),
        (replace("config.json", '{"model_type": "qwen2_5_vl",'), "config.json cannot be used"),
        (replace("config.json", "[]"), "config.json cannot be used"),
        (change_config(text={"num_attention_heads": 0}), "config.json cannot be used"),
        (change_config(text={"hidden_size": "wide"}), "config.json cannot be used"),
        (change_config(text={"num_hidden_layers": 3}), "config.json cannot be used"),  # it lists two layers
        (change_config(text={"intermediate_size": 96}), "6 of another shape (model.language_model.layers.0.mlp.down_p"),
        (change_config(text={"vocab_size": 300}), "the tokenizer has a token 534, config.json only 300 tokens"),
        (change_config(tie_word_embeddings=False), "1 missing (lm_head.weight)"),
        (change_config(image_token_id=3), "the image token is 3 in config.json, "),
        (change_config(model_type="llava"), "model_type 'llava' is not supported"),
        (change_config(model_type="qwen3_vl"), "a processor for qwen2_5_vl, a model qwen3_vl"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (replace("chat_template.jinja", "{% for m in messages %}"), "chat template cannot be used"),
        (replace("chat_template.jinja", "a question"), "the chat template leaves out the image"),
        (replace("tokenizer.json", '{"version": "1.0"'), "the processor cannot be used"),
        (replace("processor_config.json", "{"), "the processor cannot be used"),
    ],
)  # fmt: skip
def test_files_that_are_not_right_are_named(copy: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(copy)
    assert said in refusal(copy)


def test_a_model_in_several_files_is_whole(copy: Path, tiny_models: dict[str, Path]) -> None:
    in_two_files(copy)
    loaded, plain = load_model(copy).state_dict(), load_model(tiny_models["qwen2_5_vl"]).state_dict()
    assert all(torch.equal(loaded[name], plain[name]) for name in plain)


def test_a_tied_head_that_is_stored_twice_is_whole(copy: Path) -> None:
    """Files that were converted from pickles have it."""
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    head = weights[first(weights, "embed_tokens")].clone()
    save_file(weights | {"lm_head.weight": head}, copy / "model.safetensors", {"format": "pt"})
    model = load_model(copy)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "untied"])
def test_every_family_is_checked(tiny_models: dict[str, Path], name: str) -> None:
    check_model(tiny_models[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_value_that_is_not_finite_is_found(dtype: torch.dtype) -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        tensor = torch.zeros(5, 7, dtype=dtype)
        assert is_finite(tensor)
        tensor[3, 2] = value
        assert not is_finite(tensor)
    assert is_finite(torch.zeros(0, dtype=dtype))
