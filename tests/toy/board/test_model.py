"""The base model of the board: the same for the same seed, its projector fits, its attention finds what is alike."""

import random
from pathlib import Path

import pytest
import torch

from pebr.toy.board.model import build, words_of
from pebr.toy.board.scenes import board
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model"), seed=1, layers=1)


def test_same_seed_same_bytes(made: Path, tmp_path: Path) -> None:
    build(tmp_path, seed=1, layers=1)
    for path in made.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_token_of_a_cell_is_near_its_words(made: Path) -> None:
    model, encoder, draw = load_model(made), Encoder(load_processor(made)), random.Random("new boards")
    boards = [board(draw, 8, 14) for _ in range(12)]
    with torch.no_grad():
        prompts = [encoder.prompt("<image>?", [shown.draw(draw)]) for shown in boards]
        seen = torch.cat([model.model.visual(p.pixel_values, grid_thw=p.image_grids).pooler_output for p in prompts])
        words = words_of(model, encoder, boards)
    left = (seen - words).square().sum() / (words - words.mean(dim=0)).square().sum()
    assert left < 0.25
    nearest = torch.cdist(seen, words).argmin(dim=1)
    assert (words[nearest] == words).all(dim=1).float().mean() > 0.9  # empty cells of a name are alike


def test_a_head_attends_to_the_like(made: Path) -> None:
    attention = load_model(made).model.language_model.layers[0].self_attn
    width = attention.head_dim
    states = torch.randn(200, attention.q_proj.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        queries, keys = attention.q_proj(states)[:, :width], attention.k_proj(states)[:, :width]
        assert ((queries @ keys.T).argmax(dim=1) == torch.arange(200)).float().mean() > 0.95
        passed = attention.o_proj.weight[:, :width] @ attention.v_proj(states)[:, :width].T
    alike = torch.nn.functional.normalize(states, dim=1) @ torch.nn.functional.normalize(passed, dim=0)
    assert alike.diagonal().mean() > alike.mean() + 0.3
