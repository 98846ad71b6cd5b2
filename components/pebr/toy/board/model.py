"""The base model of the board: random weights that begin where a model can soon learn to look things up.

A base model of the real method sees and reads before it is trained here; one with plain random weights would need many
thousands of training steps for that. So two things are given to this one, and all else is left to the warm-up:

- The last layer of its projector is solved by least squares, so that the token of a cell is the sum of the embeddings
  of its words (cell and object).
- Its attention begins as mimetic initialisation (Trockman and Kolter, arXiv 2305.09828) has it: one query head per key
  head has the key's weights, so that it finds tokens that are alike, and its output passes on what it found; the random
  parts that would drown this out begin small.
"""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pebr.toy.board.scenes import CELLS, Board, board
from pebr.toy.board.world import questions
from pebr.toy.vlm import build_model

BOARDS = 400  # whose cells are fitted
RIDGE = 1.0
OBJECTS = (2, 14)  # on a fitted board
PASSED_ON = 0.5  # of what a head that finds the like has found
SMALL = 0.2  # scale of the other heads' outputs, and of the feed-forward parts'
# The sizes are smaller than in the other tiny world: answers are twice as long.
VISION_WIDTH, VISION_LAYERS, LAYERS = 128, 1, 3
# A model finds cells and facts by what they are, at any distance. With a small base, which the other tiny world has for
# reading places, how far apart two tokens are would matter more than what they are.
ROPE_BASE = 10000.0


def build(directory: Path | str, seed: int, layers: int = LAYERS) -> Path:
    """Write the model and its processor; the same arguments give the same bytes."""
    from pebr.vlm.encoding import Encoder
    from pebr.vlm.loading import load_model, load_processor

    made = build_model(
        directory, seed, layers=layers, vision_width=VISION_WIDTH, vision_layers=VISION_LAYERS,
        rope_base=ROPE_BASE, ask=questions,
    )  # fmt: skip
    model, encoder = load_model(made), Encoder(load_processor(made))
    draw = random.Random(f"projector/{seed}")
    boards = [board(draw, *OBJECTS) for _ in range(BOARDS)]
    with torch.no_grad():
        projector = model.model.visual.merger.mlp[-1]
        hidden = _hidden(model, projector, [encoder.prompt("<image>?", [shown.draw(draw)]) for shown in boards])
        words = words_of(model, encoder, boards)
        ones = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1).double()
        gram = ones.T @ ones + RIDGE * torch.eye(ones.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(gram, ones.T @ words.double()).float()
        projector.weight.copy_(solved[:-1].T)
        projector.bias.copy_(solved[-1])
        for layer in model.model.language_model.layers:
            _look_for_the_like(layer)
    model.save_pretrained(str(directory))
    return made


def _hidden(model: Any, projector: torch.nn.Module, prompts: list[Any]) -> Tensor:
    """The input of the projector's last layer for each cell of some images: (16 N, H)."""
    found: list[Tensor] = []
    hook = projector.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    for prompt in prompts:
        model.model.visual(prompt.pixel_values, grid_thw=prompt.image_grids)
    hook.remove()
    return torch.cat(found)


def words_of(model: Any, encoder: Any, boards: list[Board]) -> Tensor:
    """The sum of the embeddings of each cell's words, (16 N, D)."""
    embedding = model.get_input_embeddings().weight
    tokenizer = encoder.tokenizer
    rows = []
    for shown in boards:
        facts = {fact.cell: f" {fact.object}" for fact in shown.facts}
        for cell in CELLS:
            ids = tokenizer(f" {cell}{facts.get(cell, '')}", add_special_tokens=False)["input_ids"]
            rows.append(embedding[ids].sum(dim=0))
    return torch.stack(rows)


def _look_for_the_like(layer: Any) -> None:
    """Let the first query head of each key head look for tokens that are like its own, and pass on their content."""
    attention, width = layer.self_attn, layer.self_attn.head_dim
    heads = attention.q_proj.out_features // width
    group = heads // (attention.k_proj.out_features // width)
    attention.o_proj.weight.mul_(SMALL)
    layer.mlp.down_proj.weight.mul_(SMALL)
    for head in range(0, heads, group):
        own, of_key = slice(head * width, (head + 1) * width), slice(head // group * width, (head // group + 1) * width)
        for projection in (attention.q_proj, attention.k_proj):
            projection.bias.zero_()
        attention.q_proj.weight[own] = attention.k_proj.weight[of_key]
        attention.o_proj.weight[:, own] = PASSED_ON * attention.v_proj.weight[of_key].T
