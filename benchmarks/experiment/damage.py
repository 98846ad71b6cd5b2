"""Models whose sight is damaged: they reason as before, but see poorly."""

import shutil
from pathlib import Path

import torch

from pebr.files import atomic_directory


def damaged(model: Path, target: Path, noise: float, seed: int) -> Path:
    """Write a model with Gaussian noise on the matrices of its vision tower and projector, unless `target` is there.

    Args:
        model: a Hugging Face directory with one file of weights.
        target: the new directory.
        noise: standard deviation of the noise, as a multiple of that of the matrix.
        seed: of the noise.

    Returns:
        `target`.
    """
    from safetensors.torch import load_file, save_file

    if target.exists():
        return target
    weights = load_file(model / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(weights.items()):
        if "visual." in name and weight.dim() > 1:
            weights[name] = weight + noise * weight.std() * torch.randn(weight.shape, generator=generator)
    with atomic_directory(target) as made:
        shutil.copytree(model, made, dirs_exist_ok=True)
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    return target
