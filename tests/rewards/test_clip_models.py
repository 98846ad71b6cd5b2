"""A CLIP model is loaded whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pebr.errors import InputError
from pebr.rewards.clip_models import load_feature_model
from pebr.toy.clip import train_clip

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_clip(tmp_path_factory.mktemp("clip") / "clip", seed=0, steps=2)


def test_a_whole_model_is_loaded(whole: Path) -> None:
    assert load_feature_model(str(whole)).encode_texts(["a circle"]).isfinite().all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda w: {n: t for n, t in w.items() if n != "positional_embedding"}, "positional_embedding"),
        (lambda w: {n: t for n, t in w.items() if not n.startswith("visual.")}, "visual."),
        (lambda w: {f"model.{n}": t for n, t in w.items()}, "cannot be used"),
        (lambda w: w | {"head.weight": torch.ones(2)}, "head.weight"),
        (lambda w: w | {"positional_embedding": torch.ones(3, 5)}, "cannot be used"),
        (lambda w: w | {"text_projection": torch.full_like(w["text_projection"], float("nan"))}, "in text_projection"),
        (lambda w: w | {"logit_scale": torch.tensor(float("inf"))}, "in logit_scale"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    whole: Path, tmp_path: Path, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]], said: str
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    (copy / WEIGHTS).unlink()
    save_file(spoil(load_file(whole / WEIGHTS)), copy / WEIGHTS)
    with pytest.raises(InputError, match=rf"^[^\n]*{said}[^\n]*$"):
        load_feature_model(str(copy))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n", f"{WEIGHTS}: Git LFS pointers"),
        (WEIGHTS, b"", "the clip model cannot be used"),
        ("open_clip_config.json", b"{", "the clip model cannot be used"),
    ],
)
def test_broken_files_are_named(whole: Path, tmp_path: Path, file: str, content: bytes, said: str) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_feature_model(str(copy))
