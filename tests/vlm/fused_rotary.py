"""Compare a model with fused and with plain rotary embedding: `python -m tests.vlm.fused_rotary MODEL`."""

import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pebr.vlm.encoding import Encoder
from pebr.vlm.kernels import fuse_rotary
from pebr.vlm.loading import load_model, load_processor


def results(path: Path, picture: Image.Image, fused: bool) -> list[Tensor]:
    """Hidden states of a prompt with an image, and all gradients of a function of them."""
    model: Any = load_model(path)
    if fused:
        plain = sys.modules[type(model).__module__].apply_rotary_pos_emb
        fuse_rotary(model)
        assert sys.modules[type(model).__module__].apply_rotary_pos_emb is not plain
    prompt = Encoder(load_processor(path)).prompt("<image>How many?", [picture])
    states = model.model(
        input_ids=torch.tensor([prompt.token_ids]),
        pixel_values=prompt.pixel_values,
        image_grid_thw=prompt.image_grids,
        mm_token_type_ids=torch.tensor([prompt.token_ids]).eq(model.config.image_token_id).int(),
    ).last_hidden_state
    torch.manual_seed(0)
    (states * torch.randn_like(states)).sum().backward()
    return [states.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def main(path: Path) -> None:
    picture = Image.effect_noise((84, 56), 80).convert("RGB")
    plain = results(path, picture, fused=False)  # first: afterwards every model of the family is fused
    for found, expected in zip(results(path, picture, fused=True), plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
